"""Prompt sets: read from files with every mistake told, hashed, seeded, classed."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import IntegrityError, InvalidInput
from evaluation.prompts.prompt_set import Prompt, PromptSet, derive_seed, make_prompt
from evaluation.prompts.reading import read_prompt_set
from evaluation.prompts.strata import classify_length, detect_language, find_mentions

texts = st.text(min_size=1, max_size=60).filter(lambda text: text.strip() != "")
prompts = st.builds(
    make_prompt,
    texts,
    seed=st.none() | st.integers(0, 2**63 - 1),
    lane=st.sampled_from(["draft", "final"]),
    mentions=st.lists(st.sampled_from(["brand", "sale"]), max_size=2),
    height=st.none() | st.sampled_from([64, 512]),
)
prompt_sets = st.lists(prompts, min_size=1, max_size=6, unique_by=lambda prompt: prompt.id).map(
    lambda found: PromptSet("tags", 3, tuple(found), ("text-accuracy",))
)


@given(made=prompt_sets)
def test_a_canonical_file_gives_the_same_set_back(tmp_path_factory: pytest.TempPathFactory, made: PromptSet) -> None:
    file = tmp_path_factory.mktemp("set") / "set.jsonl"
    file.write_text(made.to_jsonl(), encoding="utf-8")
    assert read_prompt_set(file) == made


@given(made=prompt_sets, seed=st.randoms(use_true_random=False))
def test_the_digest_is_of_the_content_in_any_order(made: PromptSet, seed: object) -> None:
    mixed = list(made.prompts)
    seed.shuffle(mixed)  # type: ignore[attr-defined]
    other = PromptSet("another-name", 9, tuple(mixed))
    assert other.digest == made.digest
    assert other.shuffled() == made.shuffled()


def test_a_seed_belongs_to_the_content() -> None:
    one = PromptSet("a", 1, (make_prompt("a fox", prompt_id="x", seed=1),))
    other = PromptSet("a", 1, (make_prompt("a fox", prompt_id="x", seed=2),))
    assert one.digest != other.digest


def test_seeds_that_nobody_names_come_from_the_id_and_stay() -> None:
    made = make_prompt("a fox", prompt_id="fox-1")
    assert made.seed == derive_seed("fox-1")
    assert made.seed != make_prompt("a fox", prompt_id="fox-2").seed
    # The rule itself: the first four bytes of SHA-256("seed:fox-1"), big-endian.
    import hashlib

    assert made.seed == int(hashlib.sha256(b"seed:fox-1").hexdigest()[:8], 16)


def test_the_same_text_twice_makes_two_prompts(tmp_path: Path) -> None:
    file = tmp_path / "two.txt"
    file.write_text("a fox\na fox\n")
    first, second = read_prompt_set(file).prompts
    assert first.id != second.id
    assert first.seed != second.seed


def test_csv_json_lines_and_yaml_say_the_same(tmp_path: Path) -> None:
    files = {
        "a.csv": 'prompt,seed,lane,mentions\n"a red fox, running",7,final,brand; sale\nsnow,,,\n',
        "a.jsonl": '{"prompt": "a red fox, running", "seed": 7, "lane": "final", "mentions": ["sale","brand"]}\n"snow"',
        "a.yaml": "- {text: 'a red fox, running', seed: 7, lane: final, mentions: [brand, sale]}\n- snow\n",
    }
    read = []
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        read.append(read_prompt_set(tmp_path / name))
    assert read[0] == read[1] == read[2]
    fox = read[0].prompts[0]
    assert (fox.text, fox.seed, fox.lane, fox.mentions) == ("a red fox, running", 7, "final", ("brand", "sale"))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "prompt,seed\nfox,-1\nok,2\nowl,x\n", ["line 2: seed", "line 4: seed"]),
        ("a.csv", "prompt,colour\nfox,red\n", ["line 2: colour"]),
        ("a.csv", "prompt,seed\na,b,c\n", ["line 2: 3 cells under 2 columns"]),
        ("a.jsonl", '{"prompt": "a"}\n{oops\n{"prompt": ""}\n[1]\n', ["line 2: not JSON", "line 3: prompt", "line 4"]),
        ("a.jsonl", '{"prompt":"a","id":"x"}\n\n{"prompt":"b","id":"x"}\n', ["line 3: id: 'x' stands at line 1"]),
        (
            "a.yaml",
            "prompts:\n  - fox\n  - {prompt: owl, seed: soon}\n  - 5\n",
            ["line 3: seed", "line 4: a prompt is"],
        ),
        ("a.yaml", "prompts: [fox\n", ["line 2: not YAML"]),
        ("a.txt", "fox\n", []),
    ],
)
def test_every_mistake_is_told_with_its_line(tmp_path: Path, name: str, content: str, told: list[str]) -> None:
    (tmp_path / name).write_text(content)
    if not told:
        assert read_prompt_set(tmp_path / name).prompts[0].text == "fox"
        return
    with pytest.raises(InvalidInput) as raised:
        read_prompt_set(tmp_path / name)
    assert all(part in raised.value.message for part in told), raised.value.message


@pytest.mark.parametrize("content", ["", "\n\n", "[]"])
def test_an_empty_set_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / ("a.yaml" if content == "[]" else "a.jsonl")
    file.write_text(content)
    with pytest.raises(InvalidInput, match="empty"):
        read_prompt_set(file)


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        read_prompt_set(tmp_path / "gone.csv")
    with pytest.raises(InvalidInput, match=r"\.parquet"):
        read_prompt_set(tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_bytes(b"prompt\n\xff\xfe\n")
    with pytest.raises(InvalidInput, match="UTF-8"):
        read_prompt_set(tmp_path / "a.csv")


def test_a_canonical_file_changed_by_hand_is_found_out(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(PromptSet("tags", 1, (make_prompt("a fox"),)).to_jsonl().replace("a fox", "a wolf"))
    with pytest.raises(IntegrityError, match="digest"):
        read_prompt_set(file)
    head, row = file.read_text().splitlines()
    without = {key: value for key, value in json.loads(head).items() if key != "digest"} | {"version": 2}
    file.write_text(json.dumps(without) + "\n" + row)
    assert read_prompt_set(file).version == 2


def test_the_order_of_drawing_mixes_what_a_file_has_sorted() -> None:
    made = PromptSet("a", 1, tuple(make_prompt(f"text {k}", lane="draft" if k < 50 else "final") for k in range(100)))
    first = [prompt.lane for prompt in made.shuffled()[:40]]
    # Of 40 drawn without order from 50 and 50, 8 or fewer of a kind have a probability below 1e-6.
    assert 8 < first.count("draft") < 32


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("a red fox in the snow", "en"),
        ("ein roter Fuchs im Schnee und der Mond", "de"),
        ("un renard roux dans la neige", "fr"),
        ("el zorro rojo y la luna en la nieve", "es"),
        ("una volpe rossa nella neve con il sole", "it"),
        ("雪の中の赤い狐", "ja"),
        ("雪中的红狐狸", "zh"),
        ("눈 속의 붉은 여우", "ko"),
        ("рыжая лиса в снегу", "und-Cyrl"),
        ("fox snow", "und"),
        ("123 456", "und"),
        ("", "und"),
    ],
)
def test_languages_are_told_by_script_and_stop_words(text: str, language: str) -> None:
    assert detect_language(text) == language


def test_lengths_and_mentions() -> None:
    assert [classify_length(" ".join(["w"] * n)) for n in (1, 5, 6, 20, 21)] == [
        "short", "short", "medium", "medium", "long",
    ]  # fmt: skip
    assert find_mentions("The BRAND's sale-sign", ["brand", "sale", "sign", "and"]) == ("brand", "sale", "sign")


def test_strata_are_counted() -> None:
    made = PromptSet("a", 1, (Prompt("x", "a fox", 1, mentions=("brand",)), Prompt("y", "b", 2, lane="final")))
    assert made.strata()["mentions=brand"] == 1
    assert made.strata()["lane=final"] == 1
    assert made.strata()["length=short"] == 2
