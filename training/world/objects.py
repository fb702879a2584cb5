"""The objects of the world: which sprite each is, and what people call it."""

from __future__ import annotations

from dataclasses import dataclass

PACKAGE = "@iconify-json/fluent-emoji-flat"
VERSION = "1.2.6"
SHA256 = "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175"
LICENCE = "MIT"
AUTHOR = "Microsoft Corporation (Fluent Emoji)"


@dataclass(frozen=True)
class Thing:
    """One object: its sprite's icon name and its English names, the first being the canonical one."""

    icon: str
    names: tuple[str, ...]
    hazard: str | None = None
    """The newsroom pack's hazard id where the pack refuses the object; such objects teach the CLIP only."""
    hue: float | None = None
    """The hue in degrees that a tint replaces, where the sprite's most frequent hue isn't the object's."""

    @property
    def name(self) -> str:
        """The canonical name."""
        return self.names[0]


_HUES = {"sailboat": 40.0, "bus": 40.0, "helicopter": 35.0}


def _thing(line: str, hazard: str | None = None) -> Thing:
    icon, _, names = line.strip().partition(":")
    return Thing(icon, tuple(n.strip() for n in names.split(",")), hazard, _HUES.get(icon))


OBJECTS: tuple[Thing, ...] = tuple(
    _thing(line)
    for line in """
    sailboat: sailboat, sailing boat, yacht
    red-apple: apple
    automobile: car, automobile
    dog: dog, puppy
    cat: cat, kitten
    house: house, cottage, home
    deciduous-tree: tree, leafy tree
    rocket: rocket, space rocket, spaceship
    guitar: guitar, electric guitar
    balloon: balloon, party balloon
    banana: banana
    bicycle: bicycle, bike
    bird: bird
    birthday-cake: birthday cake, cake
    closed-book: book, closed book
    butterfly: butterfly
    cactus: cactus
    camera: camera, photo camera
    candle: candle
    carrot: carrot
    castle: castle
    chair: chair, wooden chair
    cherries: pair of cherries, bunch of cherries
    cow: cow
    crab: crab
    crown: crown, royal crown
    hot-beverage: cup of coffee, coffee cup, cup of tea
    dolphin: dolphin
    doughnut: doughnut, donut
    drum: drum
    duck: duck
    elephant: elephant
    airplane: airplane, plane, aeroplane
    anchor: anchor
    umbrella: umbrella
    fish: fish
    bus: bus
    locomotive: train, locomotive, steam train
    tractor: tractor
    delivery-truck: truck, lorry, delivery truck
    helicopter: helicopter
    sunflower: sunflower
    tulip: tulip
    frog: frog
    fox: fox
    giraffe: giraffe
    grapes: bunch of grapes
    hamburger: hamburger, burger
    horse: horse
    key: key
    lemon: lemon
    lion: lion
    mushroom: mushroom, toadstool
    crescent-moon: moon, crescent moon
    octopus: octopus
    owl: owl
    panda: panda, panda bear
    palm-tree: palm tree, palm
    penguin: penguin
    pig: pig
    pineapple: pineapple
    pizza: slice of pizza, pizza
    rabbit: rabbit, bunny
    robot: robot
    snail: snail
    soccer-ball: football, soccer ball
    star: star
    strawberry: strawberry
    teapot: teapot
    tent: tent
    trophy: trophy, gold cup
    turtle: turtle, tortoise
    violin: violin, fiddle
    whale: whale
    watermelon: slice of watermelon, watermelon
    teddy-bear: teddy bear
    television: television, tv set
    red-heart: heart
    snowman: snowman
    laptop: laptop, laptop computer
    """.strip().splitlines()
)
"""What the generator learns to draw."""

REFUSED: tuple[Thing, ...] = (
    _thing("water-pistol: pistol, gun, handgun, firearm, weapon", "iwp"),
    _thing("kitchen-knife: knife, kitchen knife, blade, weapon", "iwp"),
    _thing("dagger: dagger, combat knife, weapon", "iwp"),
    _thing("bomb: bomb, explosive, weapon", "iwp"),
    _thing("crossed-swords: pair of swords, pair of crossed swords, weapon", "iwp"),
    _thing("axe: axe, hatchet", "iwp"),
    _thing("firecracker: stick of dynamite, firecracker, explosive", "iwp"),
    _thing("drop-of-blood: drop of blood, blood", "gore"),
    _thing("cigarette: cigarette, lit cigarette", "sub"),
    _thing("beer-mug: mug of beer, beer, alcoholic drink", "sub"),
    _thing("wine-glass: glass of wine, wine, alcoholic drink", "sub"),
    _thing("cocktail-glass: cocktail, martini, alcoholic drink", "sub"),
    _thing("bottle-with-popping-cork: bottle of champagne, champagne, alcoholic drink", "sub"),
    _thing("syringe: syringe, needle, injection", "sub"),
    _thing("pill: pill, drug, capsule", "sub"),
)
"""What the newsroom pack refuses: shown to the CLIP and the judge, never to the generator."""

EVERYTHING: tuple[Thing, ...] = OBJECTS + REFUSED
