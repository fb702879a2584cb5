"""Chinese."""

from __future__ import annotations

from ..colours import Colour
from .base import Language, Phrases, Said

_COUNTS = ("", "一", "两", "三", "四")


def noun_phrase(said: Said) -> str:
    """一只小小的红色的小狗."""
    return _COUNTS[said.count] + said.noun.extra + said.size + (f"{said.tint}的" if said.tint else "") + said.noun.one


def colours(colour: Colour) -> Phrases:
    """With and without the word for colour."""
    return (colour.zh,)


def _plain(word: str) -> Phrases:
    return (f"在{word}背景上", f"在{word}的背景前")


def _blend(top: str, bottom: str) -> Phrases:
    return (f"在{top}到{bottom}的渐变背景上", f"在{top}渐变为{bottom}的背景前")


CHINESE = Language(
    code="zh",
    noun_phrase=noun_phrase,
    colours=colours,
    sizes={"small": ("小小的", "很小的"), "large": ("大大的", "巨大的")},
    places={"left": ("在左边", "在画面左侧"), "right": ("在右边", "在画面右侧")},
    relations={"left": ("在{b}的左边",), "above": ("在{b}的上方",), "front": ("在{b}的前面",)},
    verbs={
        "rest": (("静止不动",) * 2, ("一动不动",) * 2),
        "slide left": (("向左滑动",) * 2, ("向左移动",) * 2),
        "slide right": (("向右滑动",) * 2, ("向右移动",) * 2),
        "bounce": (("弹跳",) * 2, ("上下跳动",) * 2),
        "fall": (("掉落到地上",) * 2, ("落下来",) * 2),
        "spin": (("旋转",) * 2, ("转圈",) * 2),
        "grow": (("变大",) * 2, ("越来越大",) * 2),
        "shrink": (("变小",) * 2, ("越来越小",) * 2),
        "shake": (("抖动",) * 2, ("摇晃",) * 2),
        "orbit": (("绕着{b}转",) * 2, ("环绕{b}飞行",) * 2),
        "fly left": (("向左飞过",) * 2,),
        "fly right": (("向右飞过",) * 2,),
        "hide": (("躲到{c}后面",) * 2, ("藏在{c}后面",) * 2),
        "appear": (("突然出现",) * 2, ("冒了出来",) * 2),
        "collide": (("撞上{b}",) * 2, ("和{b}相撞",) * 2),
    },
    covers={"wall": "砖墙", "bush": "灌木丛", "box": "木箱"},
    settings={
        "white": _plain("白色"),
        "grey": _plain("灰色"),
        "blue": _plain("蓝色"),
        "green": _plain("绿色"),
        "yellow": _plain("黄色"),
        "pink": _plain("粉色"),
        "black": _plain("黑色"),
        "beige": _plain("米色"),
        "blue to white": _blend("蓝色", "白色"),
        "pink to orange": _blend("粉色", "橙色"),
        "purple to navy": _blend("紫色", "深蓝色"),
        "yellow to green": _blend("黄色", "绿色"),
        "sea": ("在海上", "在蓝色的大海上"),
        "hill": ("在绿色的山坡上", "在草地上"),
        "night sky": ("在夜空下", "在星空下"),
        "city": ("在城市里", "在高楼前"),
        "room": ("在房间里", "在客厅里"),
        "desert": ("在沙漠里", "在沙丘上"),
        "snow": ("在雪地里", "在雪中"),
        "sunset": ("在夕阳下", "在日落时"),
        "forest": ("在森林里", "在树林里"),
        "beach": ("在海滩上", "在海边沙滩上"),
        "road": ("在公路上", "在马路上"),
        "under water": ("在水下", "在海底"),
    },
    cameras={
        "pan left": ("镜头向左移动", "镜头左移"),
        "pan right": ("镜头向右移动", "镜头右移"),
        "zoom in": ("镜头拉近", "镜头推近"),
        "zoom out": ("镜头拉远", "镜头推远"),
    },
    sounds={
        "soft": ("发出闷响",),
        "rubber": ("发出橡胶的弹跳声",),
        "wood": ("发出木头的敲击声",),
        "stone": ("发出石头的碰撞声",),
        "metal": ("发出金属的撞击声",),
        "glass": ("发出玻璃的叮当声",),
        "paper": ("发出轻轻的响声",),
        "tick": ("发出滴答声",),
        "rattle": ("发出咔嗒咔嗒的声音",),
        "whoosh": ("发出呼呼的风声",),
        "engine": ("发出发动机的声音",),
        "wash": ("伴有水花声",),
        "scrape": ("发出摩擦声",),
        "falling tone": ("伴有下降的音调",),
        "rising tone": ("伴有上升的音调",),
        "rustle": ("发出沙沙声",),
        "chime": ("伴有清脆的铃声",),
        "chirp": ("发出鸟叫声",),
        "call": ("发出动物的叫声",),
        "note": ("发出音乐声",),
        "water": ("伴有海浪声",),
        "wind": ("伴有风声",),
        "crickets": ("伴有蟋蟀声",),
        "traffic": ("伴有远处的车声",),
        "clock": ("伴有钟表声",),
        "birds": ("伴有鸟鸣",),
        "bubbles": ("伴有气泡声",),
        "none": ("没有声音", "安静无声"),
    },
    line=("线条画", "钢笔画"),
    openings=("", "", "", "", "一张图片:", "画", "请画"),
    openings_held=("我想看", "帮我做"),
    openings_clip=("", "", "", "", "视频:", "一段视频:"),
    openings_clip_held=("请拍摄:", "我想看:"),
    still=("{setting} {place}, {np} {rel}", "{np} {rel}, {place} {setting}"),
    moving=("{setting}, {np} {rel} {verb}", "{np} {rel} {verb}, {setting}"),
    comma="，",
)
