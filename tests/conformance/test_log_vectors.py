"""The log's pure core against published vectors: RFC 6962, C2SP signed notes, RFC 8785."""

from __future__ import annotations

from hashlib import sha256

import pytest

from filigrana.errors import LogError, TamperError
from filigrana.provenance.log import canonical, merkle
from filigrana.provenance.log.note import Checkpoint, Note, VerifierKey

# certificate-transparency, merkletree tests: the eight standard leaves, and the root after each.
LEAVES = [
    bytes.fromhex(item)
    for item in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# (index, size, proof), the leaf's sibling first.
INCLUSION = [
    (0, 1, []),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
CONSISTENCY = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]


def node(level: int, index: int) -> bytes:
    hashes = [merkle.leaf_hash(leaf) for leaf in LEAVES[index << level : (index + 1) << level]]
    return merkle.complete_root(hashes)


def test_the_empty_tree() -> None:
    expected = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.EMPTY_ROOT.hex() == merkle.CompactRange().root().hex() == expected


def test_the_roots_of_the_standard_leaves() -> None:
    tree = merkle.CompactRange()
    for leaf, expected in zip(LEAVES, ROOTS, strict=True):
        tree.push(merkle.leaf_hash(leaf))
        assert tree.root().hex() == expected
        assert merkle.root_at(tree.size, node).hex() == expected


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSION)
def test_the_standard_inclusion_proofs(index: int, size: int, proof: list[str]) -> None:
    made = merkle.inclusion_proof(index, size, node)
    assert [item.hex() for item in made] == proof
    leaf = merkle.leaf_hash(LEAVES[index])
    merkle.verify_inclusion(leaf, index, size, made, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("old", "new", "proof"), CONSISTENCY)
def test_the_standard_consistency_proofs(old: int, new: int, proof: list[str]) -> None:
    made = merkle.consistency_proof(old, new, node)
    assert [item.hex() for item in made] == proof
    roots = [bytes.fromhex(ROOTS[size - 1]) for size in (old, new)]
    merkle.verify_consistency(old, roots[0], new, roots[1], made)


# golang.org/x/mod/sumdb/note, the package's own example.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_a_note_signed_by_another_implementation() -> None:
    key = VerifierKey.parse(PETER)
    assert str(key) == PETER
    assert key.key_id.hex() == "c74f20a3"
    parsed = Note.parse(PETERS_NOTE)
    assert parsed.verified_by([key]) == (key,)
    assert str(parsed) == PETERS_NOTE


def test_no_byte_of_a_note_can_be_changed() -> None:
    key = VerifierKey.parse(PETER)
    for at in range(len(PETERS_NOTE.encode())):
        for bit in range(8):
            changed = bytearray(PETERS_NOTE.encode())
            changed[at] ^= 1 << bit
            with pytest.raises((LogError, UnicodeDecodeError)):
                Note.parse(changed.decode()).verified_by([key])


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n\n— a b",
        "text\n\n— a AAAAAA==\n",
        "text\n\n- a AAAAAAAA\n",
        "text\n\n— a  AAAAAAAA\n",
        "text\n\n— a+b AAAAAAAA\n",
        "text\n\n— a\u00a0b AAAAAAAA\n",
        "te\x01xt\n\n— a AAAAAAAA\n",
        "te\rxt\n\n— a AAAAAAAA\n",
        "text\n\n— a AAAAAAAB==\n",
        "text\n\n" + "— a AAAAAAAA\n" * 65,
    ],
)
def test_malformed_notes_are_refused(broken: str) -> None:
    with pytest.raises(LogError):
        Note.parse(broken)


def test_sixteen_signatures_must_be_readable() -> None:
    assert len(Note.parse("text\n\n" + "— a AAAAAAAA\n" * 16).signatures) == 16


def test_a_known_key_whose_signature_fails_spoils_the_note() -> None:
    key = VerifierKey.parse(PETER)
    parsed = Note.parse(PETERS_NOTE)
    good = parsed.signatures[0]
    bad = type(good)(good.name, good.key_id, bytes(64))
    with pytest.raises(TamperError):
        Note(parsed.text, (good, bad)).verified_by([key])


@pytest.mark.parametrize(
    "broken",
    [
        "log\n1\n",
        "log\n01\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "log\n-1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "log\n1 \nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "log\n٣\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "log\n9223372036854775808\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "log\n1\nAAAA\n",
        "log\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n",
        "\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "log\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n",
        "log\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    ],
)
def test_malformed_checkpoints_are_refused(broken: str) -> None:
    with pytest.raises(LogError):
        Checkpoint.parse_text(broken)


def test_a_checkpoint_reads_as_the_specification_writes_it() -> None:
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    parsed = Checkpoint.parse_text(text)
    assert (parsed.origin, parsed.size, len(parsed.root)) == ("example.com/behind-the-sofa", 20852163, 32)
    assert parsed.text == text


def test_a_leaf_is_canonical_json() -> None:
    """RFC 8785: keys by UTF-16 code units, shortest numbers, no escapes but the necessary."""
    entry = {
        "\ufb33": 1,
        "\U0001f600": 2,
        "€": 3,
        "type": "x",
        "1": 4.50,
        "n": 1e-7,
        "s": "\u20ac$\u000f\nA'B\"\\",
    }
    assert canonical.encode(entry).decode() == (
        '{"1":4.5,"n":1e-7,"s":"€$\\u000f\\nA\'B\\"\\\\","type":"x","€":3,"\U0001f600":2,"\ufb33":1}'
    )
    assert canonical.decode(canonical.encode(entry)) == entry
    assert merkle.leaf_hash(b"").hex() == sha256(b"\x00").hexdigest()
