"""What all pages look like: calm, light and dark, from a phone to a wide screen and to paper."""

from __future__ import annotations

from html import escape

STYLE = """\
:root {
  color-scheme: light dark;
  --paper: #f6f5f2; --card: #ffffff; --ink: #23262b; --soft: #666c75; --line: #e3e1dc;
  --accent: #1f6f6b; --tint: #e8f2f0; --warn: #8a5a16; --warn-tint: #fbf3e4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15171a; --card: #1d2024; --ink: #e4e6e8; --soft: #9aa1aa; --line: #32363c;
    --accent: #7cc8c0; --tint: #1e3331; --warn: #e0b878; --warn-tint: #332a1b;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 2.5rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 400 1rem/1.6 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  text-rendering: optimizeLegibility; -webkit-text-size-adjust: 100%; overflow-wrap: anywhere;
}
header, main { max-width: 54rem; margin: 0 auto; }
h1 { margin: 0 0 .25rem; font-size: 1.25rem; line-height: 1.3; font-weight: 650; letter-spacing: -.01em; }
p, pre, figure, dl, ul, ol { margin: 0; padding: 0; }
.count { color: var(--soft); font-size: .875rem; }
article {
  margin-top: 1.25rem; background: var(--card); border: 1px solid var(--line); border-radius: 14px; overflow: hidden;
}
.number {
  padding: .6rem 1.75rem; border-bottom: 1px solid var(--line); color: var(--soft);
  font-size: .8125rem; font-weight: 600; font-variant-numeric: tabular-nums;
}
img { display: block; width: 100%; height: auto; border-radius: 8px; background: var(--line); }

.asked { display: flex; flex-wrap: wrap; gap: 1.25rem 2rem; align-items: center; padding: 1.75rem; }
.picture { max-width: calc(22rem * var(--w, 1)); }
.asked > .picture { flex: 1 1 calc(16rem * var(--w, 1)); }
.asked > div { flex: 1 1 18rem; }
.question { font-size: 1.375rem; line-height: 1.35; font-weight: 600; letter-spacing: -.01em; text-wrap: balance; }
.question + .question { margin-top: .5rem; }
details { margin-bottom: .75rem; color: var(--soft); font-size: .875rem; }
summary { cursor: pointer; width: fit-content; }
.system { margin-top: .5rem; padding-left: .75rem; border-left: 2px solid var(--line); white-space: pre-line; }

.chain { list-style: none; padding: .25rem 1.75rem 1.75rem; }
.chain > li { position: relative; padding: 0 0 1.5rem 2rem; }
.chain > li:last-child { padding-bottom: 0; }
.chain > li::before {
  content: ""; position: absolute; left: .25rem; top: .5rem; width: .625rem; height: .625rem; border-radius: 50%;
  background: var(--accent);
}
.chain > li:not(.turn)::before { background: var(--card); box-shadow: inset 0 0 0 2px var(--accent); }
.chain > li::after {
  content: ""; position: absolute; left: .53rem; top: 1.4rem; bottom: -.25rem; width: 1px; background: var(--line);
}
.chain > li:last-child::after { display: none; }
.turn > * + *, .seen > * + * { margin-top: .75rem; }
.thought { max-width: 42rem; font-size: 1.0625rem; line-height: 1.65; white-space: pre-line; }
.reflection { max-width: 42rem; color: var(--soft); font-style: italic; white-space: pre-line; }
.call {
  display: inline-flex; flex-wrap: wrap; gap: .1rem .6rem; padding: .3rem .8rem; border-radius: 1rem;
  background: var(--tint); color: var(--ink); font-size: .875rem; line-height: 1.5;
}
.call b { color: var(--accent); font-weight: 650; }
.stray {
  padding: .5rem .75rem; border-radius: 8px; background: var(--warn-tint); color: var(--warn);
  font: .8125rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; white-space: pre-wrap;
}

figcaption { margin-bottom: .5rem; font-size: .875rem; font-weight: 600; }
figcaption small { margin-left: .6rem; color: var(--soft); font-size: inherit; font-weight: 400; }
.reading { display: flex; flex-wrap: wrap; gap: 1rem 1.25rem; align-items: stretch; }
.reading > img { flex: 0 1 calc(20rem * var(--w, 1)); min-width: 0; align-self: flex-start; }
.bar, .legend { flex: none; font-size: .8125rem; color: var(--soft); font-variant-numeric: tabular-nums; }
.bar { display: flex; gap: .5rem; min-height: 9rem; padding: .6rem 0; }
.bar > i { width: .875rem; border-radius: 4px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.bar > div { position: relative; width: 4.5rem; }
.bar span { position: absolute; left: 0; transform: translateY(50%); line-height: 1; white-space: nowrap; }
.legend { list-style: none; line-height: 1.9; color: var(--ink); }
.legend i {
  display: inline-block; width: .875rem; height: .875rem; margin-right: .5rem; vertical-align: -.1rem;
  border: 1px solid var(--line); border-radius: 4px; print-color-adjust: exact; -webkit-print-color-adjust: exact;
}

.answer { padding: .9rem 1.1rem; border-radius: 10px; background: var(--tint); }
.answer > span { display: block; color: var(--accent); font-size: .8125rem; font-weight: 600; line-height: 1.3; }
.answer > strong { font-size: 1.5rem; line-height: 1.35; font-weight: 650; letter-spacing: -.01em; }
.said { margin-top: .15rem; color: var(--soft); font-size: .9375rem; }

footer { padding: .8rem 1.75rem; border-top: 1px solid var(--line); font-size: .8125rem; }
dl { display: flex; flex-wrap: wrap; gap: .2rem 1.5rem; }
dl div { display: flex; gap: .4rem; }
dt { color: var(--soft); }
dd { margin: 0; font-variant-numeric: tabular-nums; }

@media (max-width: 40rem) {
  body { padding: 1.25rem .75rem 2.5rem; }
  header { padding: 0 .25rem; }
  h1 { font-size: 1.125rem; }
  .asked { padding: 1rem; }
  .picture { max-width: calc(100% * var(--w, 1)); }
  .question { font-size: 1.1875rem; }
  .chain { padding: .25rem 1rem 1.25rem; }
  .chain > li { padding-left: 1.5rem; }
  .chain > li::before { left: 0; }
  .chain > li::after { left: .28rem; }
  .reading { flex-wrap: nowrap; gap: .75rem; }
  .reading:has(.legend) { flex-wrap: wrap; }
  .reading > img { flex: 1 1 0; max-width: calc(100% * var(--w, 1)); }
  .reading:has(.legend) > img { flex-basis: calc(100% * var(--w, 1)); }
  .legend { display: flex; flex: 1 1 100%; flex-wrap: wrap; gap: 0 1rem; }
  .bar > div { width: 3.25rem; }
  .number, footer { padding-left: 1rem; padding-right: 1rem; }
}
@media print { body { background: none; padding: 0; } article { break-inside: avoid-page; border: 0; } }
"""


def whole_page(title: str, body: str, subtitle: str = "", style: str = "") -> str:
    """A page in this style, with rules of its own after it: it loads nothing and runs no script. `body` and `subtitle`
    are HTML, `title` is text."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{STYLE}{style}</style>
</head>
<body>
<header><h1>{escape(title)}</h1>{subtitle}</header>
<main>
{body}
</main>
</body>
</html>
"""
