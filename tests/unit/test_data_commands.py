"""`dstcl data` list, add, check and sheet; downloads from a server of one's own; own data sets."""

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from dstcl.cli import main
from dstcl.data.catalog import DATASETS, DatasetInfo, Download
from dstcl.data.check import check, duplicates
from dstcl.data.prepare import prepare
from dstcl.data.raw import read_header
from dstcl.data.sheet import sheet
from dstcl.data.stored import Prepared, load_prepared
from helpers.runs import write_prepared

TOY = DatasetInfo(3, 3, 8, (0.5,) * 3, (0.3,) * 3, 4, 2, "Toy")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working folder with an empty folder of archives, and a data set "toy"."""
    monkeypatch.setitem(DATASETS, "toy", TOY)
    monkeypatch.setenv("DSTCL_DATA", "raw")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    return tmp_path


def encoded(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def tree(folder: Path, equal: dict[str, str] | None = None) -> Path:
    """4 training and 2 test images per class; ``equal`` makes some the same as others."""
    for part, each in (("train", 4), ("test", 2)):
        for number, name in enumerate("abc"):
            for k in range(each):
                path = folder / part / name / f"{k}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encoded(1000 * (part == "test") + 10 * number + k))
    for name, other in (equal or {}).items():
        (folder / name).write_bytes((folder / other).read_bytes())
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(["data", *arguments])
    return capsys.readouterr().out


def refusal(*arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["data", *arguments])
    message = str(caught.value)
    assert message.startswith("dstcl: ")
    assert len(message.splitlines()) == 1
    return message


# check


def prepared(equal: dict[str, str] | None = None) -> Path:
    tree(Path("raw/toy"), equal)
    path = Path("data/prepared/toy-8px.safetensors")
    prepare("toy", 8, path)
    return path


def test_a_check_counts_measures_and_ends_well(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = load_prepared(prepared()).digest
    text = said(capsys, "check", "toy")
    assert f"toy, digest {digest}" in text
    assert "18 images of 8 x 8 pixels, 3 channels, 3 classes" in text
    assert "training: 12 images, 4 a class\n" in text
    assert "test: 6 images, 2 a class\n" in text
    assert "duplicates: 0 images" in text
    images = load_prepared(Path("data/prepared/toy-8px.safetensors"))
    train = images.images[~images.is_test].double() / 255
    mean = ", ".join(f"{value:.4f}" for value in train.mean(dim=(0, 2, 3)))
    assert f"mean ({mean})" in text
    assert "made from toy:18:" in text


def test_a_part_of_a_set_is_called_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = prepared()
    monkeypatch.setitem(DATASETS, "toy", replace(TOY, train_per_class=40))
    lines = check(path).lines
    assert "training: 12 images, 4 a class (the complete set has 120)" in lines


def test_means_far_from_the_known_ones_are_remarked_on(place: Path) -> None:
    tree(Path("raw/toy"))
    DATASETS["toy"] = replace(TOY, mean=(0.9,) * 3)  # undone by the fixture
    prepare("toy", 8, Path("toy"))
    assert any("apart" in line for line in check(Path("toy")).lines)


def test_duplicates_with_two_labels_and_across_the_split_are_listed(place: Path) -> None:
    path = prepared(
        {
            "train/a/1.png": "train/a/0.png",  # only twice
            "train/b/0.png": "train/a/2.png",  # two labels
            "test/c/1.png": "train/c/3.png",  # learned and tested
        }
    )
    lines = check(path).lines
    (summary,) = (line for line in lines if line.startswith("duplicates"))
    assert summary == (
        "duplicates: 3 images are there again, in 3 groups; 1 groups with two labels, "
        "1 across training and test"
    )
    listed = [line for line in lines if line.startswith("  equal")]
    assert len(listed) == 2
    assert any("(a)" in line and "(b)" in line for line in listed)
    assert any("test image" in line and "training image" in line for line in listed)
    assert len(duplicates(load_prepared(path))) == 3


@pytest.mark.parametrize("place_in_file", [-1, -30, -2000])
def test_a_file_that_was_changed_is_refused(place: Path, place_in_file: int) -> None:
    path = prepared()
    content = bytearray(path.read_bytes())
    content[place_in_file] ^= 1
    path.write_bytes(content)
    assert "its digest should be" in refusal("check", "toy")


def test_without_a_prepared_file_the_check_says_how_to_make_it(place: Path) -> None:
    assert "toy-*px.safetensors; make it with: snakemake data" in refusal("check", "toy")


def test_of_two_sizes_one_has_to_be_named(place: Path) -> None:
    path = prepared()
    prepare("toy", 16, path.with_name("toy-16px.safetensors"))
    assert "toy-16px.safetensors, data/prepared/toy-8px" in refusal("check", "toy")
    main(["data", "check", "toy", "--data", str(path)])


# sheet


def test_a_sheet_shows_training_images_of_every_class(place: Path) -> None:
    data = load_prepared(prepared())
    picture = np.asarray(sheet(data, samples=4))
    white = (picture == 255).all(axis=2)
    assert 0.1 < white.mean() < 0.9
    found = set()
    for index, image in enumerate(data.images):
        big = np.kron(image.permute(1, 2, 0).numpy(), np.ones((5, 5, 1), np.uint8))
        first = (picture[:, :, :] == big[0, 0]).all(axis=2)
        for up, left in zip(*np.nonzero(first), strict=True):
            window = picture[up : up + 40, left : left + 40]
            if window.shape == big.shape and (window == big).all():
                found.add(index)
    assert found == set((~data.is_test).nonzero().flatten().tolist())


def test_a_sheet_is_a_png_with_the_same_bytes_each_time(place: Path) -> None:
    prepared()
    for name in ("one.png", "two.png"):
        main(["data", "sheet", "toy", "--out", name, "--samples", "9"])
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes()
    assert Image.open("one.png").format == "PNG"
    assert "--samples: 0" in refusal("sheet", "toy", "--out", "three.png", "--samples", "0")


# list


def test_a_list_says_what_is_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared()
    lines = {line.split()[0]: line for line in said(capsys, "list").splitlines()}
    assert lines.keys() >= set(DATASETS)
    assert "raw/toy " in lines["toy"]
    assert "toy-8px.safetensors" in lines["toy"]
    assert "can be downloaded" in lines["cifar100"]
    assert "embedded" in lines["mnist5k"]
    assert "(DSTCL_DATA)" in lines["archives"]


# add


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_what_is_added_is_found(place: Path, kind: str) -> None:
    import shutil

    source = tree(Path("mine"))
    if kind == "zip":
        source = Path(shutil.make_archive("mine", "zip", source))
    main(["data", "add", "toy", str(source)])
    assert (Path("raw") / ("toy" if kind == "folder" else "toy.zip")).exists()
    main(["data", "prepare", "toy", "--image-size", "8", "--out", "out"])
    assert len(load_prepared(Path("out")).labels) == 18
    assert source.exists()
    assert "is there already" in refusal("add", "toy", str(source))


def test_a_link_copies_nothing(place: Path) -> None:
    tree(Path("mine"))
    main(["data", "add", "toy", "mine", "--link"])
    assert Path("raw/toy").is_symlink()
    main(["data", "prepare", "toy", "--image-size", "8", "--out", "out"])


@pytest.mark.parametrize(
    ("dataset", "path", "words"),
    [
        ("mnist5k", None, "comes with an installed package"),
        ("toy", None, "is not published for download"),
        ("toy", "nothing", "nothing: no such file or folder"),
        ("toy", "empty", "empty: no images in it"),
        ("toy", "text.txt", "text.txt: a folder, a .zip or a CIFAR archive (.tar.gz) is needed"),
        ("imagenet", "mine", "no such data set"),
    ],
)
def test_what_cannot_be_added_is_refused_and_nothing_is_copied(
    place: Path, dataset: str, path: str | None, words: str
) -> None:
    Path("empty").mkdir()
    Path("text.txt").write_text("text")
    assert words in refusal("add", dataset, *([path] if path else []))
    assert list(Path("raw").iterdir()) == []


# download

CONTENT = np.random.default_rng(0).integers(0, 256, 700_000, dtype=np.uint8).tobytes()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT as any file name; understands ranges, or stops half way if asked to."""

    stop_after: int | None = None
    ranges = True
    asked: list[str | None] = []  # noqa: RUF012

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        type(self).asked.append(wanted)
        if self.path.endswith("missing"):
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = len(CONTENT) if self.stop_after is None else start + self.stop_after
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Handler]]:
    """A server from which the data set "toy" is downloaded."""
    handler = type("Fresh", (Handler,), {"asked": []})
    web = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{web.server_port}/"
    offered = Download(url, (("toy.zip", hashlib.md5(CONTENT).hexdigest()),))
    monkeypatch.setitem(DATASETS, "toy", replace(TOY, download=offered))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield handler
    web.shutdown()
    web.server_close()


def test_a_download_is_checked_and_put_where_it_is_looked_for(server: type[Handler]) -> None:
    main(["data", "add", "toy"])
    assert Path("raw/toy.zip").read_bytes() == CONTENT
    assert [path.name for path in Path("raw").iterdir()] == ["toy.zip"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_stopped_goes_on(server: type[Handler], ranges: bool) -> None:
    """Where the server can do it; else it begins again."""
    server.ranges = ranges
    server.stop_after = 300_000
    assert "try again to go on" in refusal("add", "toy")
    assert not Path("raw/toy.zip").exists()
    server.stop_after = None
    main(["data", "add", "toy"])
    assert Path("raw/toy.zip").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]


def test_a_download_that_was_complete_but_not_renamed_is_used(server: type[Handler]) -> None:
    Path("raw/.toy.zip.part").write_bytes(CONTENT)
    main(["data", "add", "toy"])
    assert Path("raw/toy.zip").read_bytes() == CONTENT


def test_something_else_than_what_was_published_is_refused_and_not_kept(
    server: type[Handler], monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = DATASETS["toy"].download
    assert offered is not None
    other = replace(offered, files=(("toy.zip", "0" * 32),))
    monkeypatch.setitem(DATASETS, "toy", replace(DATASETS["toy"], download=other))
    assert f"published is {'0' * 32}; nothing was kept" in refusal("add", "toy")
    assert list(Path("raw").iterdir()) == []


def test_several_files_go_into_one_folder(
    server: type[Handler], monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = DATASETS["toy"].download
    assert offered is not None
    files = tuple((name, offered.files[0][1]) for name in ("one", "two"))
    monkeypatch.setitem(
        DATASETS, "toy", replace(DATASETS["toy"], download=replace(offered, files=files))
    )
    main(["data", "add", "toy"])
    assert sorted(path.name for path in Path("raw/toy").iterdir()) == ["one", "two"]
    Path("raw/toy/two").unlink()  # as if stopped between the files
    main(["data", "add", "toy"])
    assert sorted(path.name for path in Path("raw/toy").iterdir()) == ["one", "two"]
    assert len(server.asked) == 3
    assert "is there already" in refusal("add", "toy")


def test_without_a_network_the_message_says_what_to_do(
    server: type[Handler], monkeypatch: pytest.MonkeyPatch
) -> None:
    for url, words in (("http://127.0.0.1:9/", "refused"), ("http://no.such.host.invalid/", "")):
        offered = Download(url, (("toy.zip", "0" * 32),))
        monkeypatch.setitem(DATASETS, "toy", replace(TOY, download=offered))
        message = refusal("add", "toy")
        assert f"{url}toy.zip: cannot be had" in message
        assert words in message
        assert "or get the file elsewhere and: dstcl data add toy PATH" in message


def test_a_file_that_is_gone_from_its_server_is_named(
    server: type[Handler], monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = DATASETS["toy"].download
    assert offered is not None
    missing = replace(offered, files=(("missing", "0" * 32),))
    monkeypatch.setitem(DATASETS, "toy", replace(DATASETS["toy"], download=missing))
    assert "missing: 404" in refusal("add", "toy")


# Data sets of one's own


def own_params(**entry: object) -> None:
    values = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    values["datasets"] = {"flowers": {"path": "mine", "classes": 3, **entry}}
    Path("params.yaml").write_text(yaml.safe_dump(values))


def test_a_data_set_of_one_s_own_is_prepared_from_its_entry(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree(Path("mine"))
    own_params(channels=1)
    out = Path("data/prepared/flowers-16px.safetensors")
    main(["data", "prepare", "flowers", "--image-size", "16", "--out", str(out)])
    data = load_prepared(out)
    assert data.images.shape == (18, 1, 16, 16)
    train = data.images[~data.is_test].double() / 255
    assert data.mean == [pytest.approx(float(train.mean()), abs=1e-4)]
    assert read_header(out)["converted"] == {"RGB": 18}
    assert "mine" in said(capsys, "list")
    main(["data", "split", "flowers", "--data", str(out), "--tasks", "1", "--order", "natural",
          "--out", "tasks.json"])  # fmt: skip
    assert json.loads(Path("tasks.json").read_text())["tasks"] == [[0, 1, 2]]
    assert torch.equal(data.labels.bincount(), torch.tensor([6, 6, 6]))


def test_an_entry_can_be_given_as_json(place: Path) -> None:
    tree(Path("mine"))
    entry = {"path": "mine", "classes": 3, "image_size": 8, "channels": 3}
    text = json.dumps(entry | {"mean": [0.1] * 3, "std": [0.2] * 3, "title": None})
    main(["data", "prepare", "flowers", "--image-size", "8", "--own", text, "--out", "out"])
    assert load_prepared(Path("out")).mean == [0.1] * 3
    for wrong in ("{", "[]", '{"path": "mine"}'):
        arguments = ["flowers", "--image-size", "8", "--own", wrong, "--out", "other"]
        assert "dstcl: --own: not " in refusal("prepare", *arguments)


def test_another_number_of_classes_than_declared_is_refused(place: Path) -> None:
    tree(Path("mine"))
    own_params(classes=4)
    arguments = ["flowers", "--image-size", "8", "--out", "out"]
    assert refusal("prepare", *arguments) == "dstcl: mine: 3 classes; flowers has 4"
    assert not Path("out").exists()


def test_a_path_that_is_not_there_is_named_with_its_key(place: Path) -> None:
    own_params(path="~/nothing-here")
    message = refusal("prepare", "flowers", "--image-size", "8", "--out", "out")
    assert "nothing-here is not there; datasets.flowers.path names it" in message


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("--workers", "0", "--workers: 0"), ("--image-size", "1000", "image_size 1000; allowed")],
)
def test_wrong_options_are_named(place: Path, option: str, value: str, words: str) -> None:
    tree(Path("raw/toy"))
    options = {"--image-size": "8", "--out": "out"} | {option: value}
    arguments = [text for pair in options.items() for text in pair]
    assert words in refusal("prepare", "toy", *arguments)


# Bounds, and what was changed since


def test_a_sheet_of_too_many_images_is_refused_before_it_is_drawn(place: Path) -> None:
    data = Prepared(
        torch.zeros(40_000, 1, 8, 8, dtype=torch.uint8),
        torch.zeros(40_000, dtype=torch.int64),
        torch.zeros(40_000, dtype=torch.bool),
        ["a"],
        [0.5],
        [0.5],
        "",
    )
    write_prepared(Path("data.safetensors"), data)
    said = refusal("sheet", "x", "--data", "data.safetensors", "--out", "o", "--samples", "1000000")
    assert said == (
        "dstcl: --samples: 40000 images of each of 1 classes are too many for one picture; "
        "at most 28344"
    )
    assert not Path("o").exists()


def test_a_sheet_is_as_wide_as_a_class_has_images(place: Path) -> None:
    tree(Path("raw/toy"))
    prepare("toy", 8, Path("toy.safetensors"))
    data = load_prepared(Path("toy.safetensors"))
    assert sheet(data, 1_000_000).size == sheet(data, 4).size


def test_a_check_sees_that_the_source_has_changed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels that were corrected after the set was prepared."""
    tree(Path("raw/toy"))
    path = Path("data/prepared/toy-8px.safetensors")
    prepare("toy", 8, path)
    said(capsys, "check", "toy")
    one, other = Path("raw/toy/train/a/0.png"), Path("raw/toy/train/b/0.png")
    content = one.read_bytes(), other.read_bytes()
    one.write_bytes(content[1])
    other.write_bytes(content[0])
    assert "its source is now toy:18:" in refusal("check", "toy")
    prepare("toy", 8, path)
    said(capsys, "check", "toy")
    Path("raw/toy").rename("raw/away")
    said(capsys, "check", "toy")


def test_the_name_of_a_set_is_no_pattern(place: Path) -> None:
    tree(Path("raw/toy"))
    prepare("toy", 8, Path("data/prepared/toy-8px.safetensors"))
    assert "*: no file" in refusal("check", "*")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"path": ""}, "path: ''; a text is needed"),
        ({"path": ["a"]}, "path: ['a']; a text is needed"),
        ({"classes": "3"}, "classes: '3'; a whole number above 0 is needed"),
        ({"channels": True}, "channels: True; a whole number"),
        ({"mean": ["0.5"] * 3}, "mean: ['0.5', '0.5', '0.5']; null or 3 numbers"),
        ({"std": [0.5]}, "std: [0.5]; null or 3 numbers"),
        ({"std": [float("nan")] * 3}, "std: [nan, nan, nan]; null or 3 numbers"),
    ],
)
def test_a_wrong_entry_of_own_data_is_named(
    place: Path, change: dict[str, object], words: str
) -> None:
    entry = {"path": "raw/toy", "classes": 3, "image_size": 8, "channels": 3} | change
    own = ("--own", json.dumps(entry))
    assert words in refusal("prepare", "mine", "--image-size", "8", "--out", "out", *own)


@pytest.mark.parametrize("own", ["[" * 100_000, "[]", "7", '{"path"', "{}"])
def test_own_data_that_are_no_entry_are_told_in_one_line(place: Path, own: str) -> None:
    said = refusal("prepare", "mine", "--image-size", "8", "--out", "out", "--own", own)
    assert said.startswith("dstcl: --own: ")
