#!/usr/bin/env bash
# Opens a report in headless Chromium: it must load without a message on the console, sort by its headers, fit a narrow screen, and
# look like something in light and in dark. Needs chromium and python3.
#
#     browser-test.sh [--allow-missing] REPORT.html [FOLDER]
#
# The folder keeps the screenshots. Without Chromium the test fails, unless --allow-missing is given.
set -euo pipefail

allow_missing=
if [[ ${1:-} == --allow-missing ]]; then
  allow_missing=yes
  shift
fi
if (($# < 1 || $# > 2)); then
  echo "usage: $0 [--allow-missing] REPORT.html [FOLDER]" >&2
  exit 2
fi
report=$(realpath -- "$1")
[[ -f $report ]] || { echo "$report: there is no such file" >&2; exit 2; }

chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [[ -z $chromium ]]; then
  if [[ $allow_missing ]]; then
    echo "skipped: there is no chromium"
    exit 0
  fi
  echo "there is no chromium; install it, or allow that with --allow-missing" >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
shots=${2:-$work/screenshots}
mkdir -p -- "$shots"

# Everything that Chromium says goes to a file; a page's console is among it.
browse() {
  timeout 120 "$chromium" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --allow-file-access-from-files \
    --user-data-dir="$work/profile" --enable-logging=stderr --virtual-time-budget=8000 "$@" 2>>"$work/log.txt"
}

url=$(python3 -c 'import pathlib, sys; print(pathlib.Path(sys.argv[1]).as_uri())' "$report")

# A page around the report, which uses it and writes what it found into itself.
cat >"$work/around.html" <<'HTML'
<!DOCTYPE html>
<meta charset="utf-8">
<body style="margin:0"><iframe id="report" style="border:0;width:1280px;height:900px"></iframe>
<script>
const frame = document.getElementById("report");
const failures = [];
const expect = (holds, what) => { if (!holds) failures.push(what); };

frame.addEventListener("load", () => {
  try { look(frame.contentDocument); } catch (error) { failures.push(String(error)); }
  document.body.dataset.height = frame.contentDocument.documentElement.scrollHeight;
  frame.style.width = "390px";
  requestAnimationFrame(() => {
    narrow(frame.contentDocument);
    document.body.dataset.narrow = frame.contentDocument.documentElement.scrollHeight;
    document.body.dataset.verdict = failures.length ? failures.join("; ") : "passed";
  });
});

function look(page) {
  const tables = [...page.querySelectorAll("table.sortable")];
  expect(tables.length > 0, "there is a table");
  expect(page.documentElement.scrollWidth <= 1280, "the page fits 1280 pixels");
  for (const table of tables) {
    expect(table.querySelectorAll("thead button").length === table.tHead.rows[0].cells.length, "every header is a button");
    const first = table.querySelector("tbody th");
    expect(!first || page.defaultView.getComputedStyle(first).position === "sticky", "the first column stays");
  }
  const table = tables.find((one) => one.tBodies[0].rows.length > 2 && one.tHead.rows[0].cells.length > 2);
  expect(table, "there is a table to sort");
  const headers = [...table.tHead.rows[0].cells];
  const index = headers.findIndex((header) => header.classList.contains("number"));
  const texts = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
  const values = () => [...table.tBodies[0].rows].map((row) => row.cells[index].dataset.value).filter((value) => value).map(Number);
  const written = texts();
  const button = headers[index].querySelector("button");
  button.focus();
  expect(page.activeElement === button, "a header takes the focus");
  const ordered = (sign) => values().every((value, place, all) => place === 0 || sign * (value - all[place - 1]) >= 0);
  button.click();
  expect(headers[index].getAttribute("aria-sort") === "descending" && ordered(-1), "one click sorts by the largest");
  button.click();
  expect(headers[index].getAttribute("aria-sort") === "ascending" && ordered(1), "two clicks sort by the smallest");
  button.click();
  expect(!headers[index].hasAttribute("aria-sort") && texts().join() === written.join(), "three clicks bring the order back");
  const names = headers[0].querySelector("button");
  names.click();
  const sorted = texts();
  expect(sorted.every((text, place) => place === 0 || sorted[place - 1].localeCompare(text, "en", { numeric: true }) <= 0), "names sort");
  names.click();
  names.click();
  const ids = [...page.querySelectorAll("[id]")].map((element) => element.id);
  expect(new Set(ids).size === ids.length, "no id is there twice");
  for (const link of page.querySelectorAll("a[href^='#']")) expect(ids.includes(link.getAttribute("href").slice(1)), "links lead somewhere");
  for (const svg of page.querySelectorAll("svg[role=img]")) {
    expect(svg.querySelector("title") && svg.getAttribute("aria-label"), "every plot has a name");
    expect(svg.querySelectorAll("text").length > 4, "every plot has labels");
  }
}

function narrow(page) {
  expect(page.documentElement.scrollWidth <= 390, "the page fits 390 pixels, but is " + page.documentElement.scrollWidth + " wide");
}

frame.src = "REPORT";
</script>
HTML
python3 - "$work/around.html" "$url" <<'PYTHON'
import pathlib, sys
path = pathlib.Path(sys.argv[1])
path.write_text(path.read_text().replace('"REPORT"', repr(sys.argv[2])))
PYTHON

browse --window-size=1280,900 --dump-dom "file://$work/around.html" >"$work/dom.html"
attribute() { sed -n "s/.*<body[^>]* data-$1=\"\([^\"]*\)\".*/\1/p" "$work/dom.html" | head -n 1; }
verdict=$(attribute verdict)
if [[ $verdict != passed ]]; then
  echo "failed: ${verdict:-the page gave no verdict}" >&2
  exit 1
fi
height=$(attribute height)
narrow=$(attribute narrow)

shot() { browse --screenshot="$shots/$1.png" "${@:2}" >/dev/null; }
shot light --window-size="1280,$height" --blink-settings=preferredColorScheme=1 "$url"
shot dark --window-size="1280,$height" --blink-settings=preferredColorScheme=0 "$url"
# Chromium's window cannot be as narrow as a telephone, but a frame in it can.
printf '<!DOCTYPE html><body style="margin:0"><iframe style="border:0;width:390px;height:%spx" src="%s"></iframe>' \
  "$narrow" "$url" >"$work/narrow.html"
shot narrow --window-size="500,$narrow" --blink-settings=preferredColorScheme=1 "file://$work/narrow.html"

if grep -F ':CONSOLE' "$work/log.txt" >&2; then
  echo "failed: the page wrote to the console" >&2
  exit 1
fi

python3 - "$shots" <<'PYTHON'
import pathlib, struct, sys, zlib


def pixels(path):
    """Colours of some of a PNG's pixels; 8 bits a channel, as Chromium writes them."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", f"{path}: this is no PNG"
    place, body = 8, b""
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        content = data[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colours = struct.unpack(">IIBB", content[:10])
            assert depth == 8 and colours in (2, 6), f"{path}: another kind of PNG"
        if kind == b"IDAT":
            body += content
        place += length + 12
    size = 3 if colours == 2 else 4
    raw, row_bytes = zlib.decompress(body), width * size
    before, found = bytearray(row_bytes), []
    for row in range(height):
        start = row * (row_bytes + 1)
        kind, line = raw[start], bytearray(raw[start + 1 : start + 1 + row_bytes])
        if kind == 1:
            for at in range(size, row_bytes):
                line[at] = (line[at] + line[at - size]) & 255
        elif kind == 2:
            for at in range(row_bytes):
                line[at] = (line[at] + before[at]) & 255
        elif kind == 3:
            for at in range(row_bytes):
                left = line[at - size] if at >= size else 0
                line[at] = (line[at] + (left + before[at]) // 2) & 255
        elif kind == 4:
            for at in range(row_bytes):
                left, corner = (line[at - size], before[at - size]) if at >= size else (0, 0)
                guess = left + before[at] - corner
                best = min((abs(guess - left), 0, left), (abs(guess - before[at]), 1, before[at]), (abs(guess - corner), 2, corner))
                line[at] = (line[at] + best[2]) & 255
        before = line
        if row % 3 == 0:
            found += [tuple(line[at : at + 3]) for at in range(0, row_bytes, 2 * size)]
    return found


folder = pathlib.Path(sys.argv[1])
light = {}
for name in ("light", "dark", "narrow"):
    found = pixels(folder / f"{name}.png")
    different = len(set(found))
    assert different > 40, f"failed: {name}.png has {different} colours only"
    light[name] = sum(map(sum, found)) / len(found) / 3
assert light["light"] > 200 > 80 > light["dark"], f"failed: the mean brightness is {light}"
PYTHON
echo "passed: $report"
