"""Colours and type of the pages, for light and dark screens and for paper."""

# Each colour on light and on dark; charts use the light one, which becomes a CSS variable on pages.
PALETTE = {
    "ground": ("#ffffff", "#11161d"),
    "panel": ("#f5f7f9", "#1a222c"),
    "ink": ("#1b2530", "#e3e9ef"),
    "muted": ("#5b6978", "#9aa8b7"),
    "line": ("#d3dae1", "#33404e"),
    "shade": ("#e9eef3", "#222c38"),
    "delivered": ("#0f62a8", "#6bb5ff"),
    "travelled": ("#7a3f9f", "#c793eb"),
    "reference": ("#687787", "#8d9cac"),
    "kept": ("#8795a3", "#7e8d9d"),
    "pending": ("#b98100", "#eab52f"),
    "eliminated": ("#c4301c", "#ff7a66"),
    "good": ("#1d7f63", "#4cc6a1"),
}
SERIES = (
    *(("#0f62a7", "#6bb5fe"), ("#c4301d", "#ff7a67"), ("#1d7f64", "#4cc6a2")),
    *(("#b98101", "#eab530"), ("#7a3fa0", "#c792ea"), ("#4a5a6a", "#b4c0cc")),
    *(("#a8326d", "#f286b8"), ("#3d7a8a", "#7fc8d8")),
)
COLOURS = PALETTE | {f"series{i}": pair for i, pair in enumerate(SERIES)}

_VARIABLES = [
    "".join(f"--{name}:{pair[shade]};" for name, pair in COLOURS.items()) for shade in (0, 1)
]

SHEET = (
    f":root{{color-scheme:light dark;{_VARIABLES[0]}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{_VARIABLES[1]}}}}}"
    """
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);
 font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 64px}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:1.2rem;margin:44px 0 6px;padding-top:14px;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:0}
p{margin:6px 0 10px;max-width:76ch}
.lead{font-size:1.1rem}
.muted,figcaption,.note{color:var(--muted);font-size:.875rem}
.notice{border-left:3px solid var(--pending);background:var(--panel);padding:8px 14px;
 font-size:.9rem;max-width:none;margin:18px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(128px,1fr));gap:12px;
 margin:18px 0;padding:0}
.tile{background:var(--panel);border-radius:8px;padding:10px 14px}
.tile b{display:block;font-size:1.4rem;white-space:nowrap;line-height:1.25;
 font-variant-numeric:tabular-nums}
.tile span{display:block;font-size:.8rem;color:var(--muted)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(300px,100%),1fr));
 gap:14px 18px;margin:10px 0}
.four{grid-template-columns:repeat(auto-fit,minmax(min(250px,100%),1fr))}
.total{margin-right:14px;font-weight:600}
.charts figure,.wide{margin:0;min-width:0}
.charts figure{max-width:460px}
.wide{max-width:860px;overflow-x:auto}
.wide svg{min-width:560px}
figure svg{display:block;width:100%;height:auto;stroke-linejoin:round;stroke-linecap:butt}
svg text{font-family:inherit}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:.85rem;color:var(--muted);
 padding:0;margin:8px 0;list-style:none}
.legend svg{width:22px;height:12px;vertical-align:-1px;margin-right:5px}
.scroll{overflow-x:auto;margin:8px 0}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:4px 12px 4px 0;text-align:left;border-bottom:1px solid var(--line);
 vertical-align:top}
th{font-weight:600;color:var(--muted);white-space:nowrap}
td{overflow-wrap:break-word;min-width:3.2em}
.number{text-align:right;white-space:nowrap}
.odd{color:var(--eliminated);font-weight:600}
.shaded{display:block;padding:1px 6px;border-radius:4px;
 background:color-mix(in srgb,var(--delivered) var(--share),transparent)}
.wrong{background:color-mix(in srgb,var(--eliminated) var(--share),transparent)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;font-size:.9rem;margin:10px 0}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere}
details{margin:10px 0}
summary{cursor:pointer;color:var(--delivered);font-size:.9rem}
.scan{border:1px solid var(--line);border-radius:8px;padding:12px 14px;margin:14px 0;
 break-inside:avoid}
.scan header{display:flex;flex-wrap:wrap;gap:2px 12px;align-items:baseline;margin-bottom:8px}
.scan h3{overflow-wrap:anywhere}
.scan th:first-child,.scan td:first-child,
.pinned th:first-child,.pinned td:first-child{position:sticky;left:0;background:var(--ground);
 white-space:nowrap}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:10px 14px}
.pair figure{margin:0;min-width:0}
.pair svg{border-radius:4px;background:#000}
.badge{font-size:.78rem;font-weight:600;border:1.5px solid;border-radius:99px;padding:0 9px;
 white-space:nowrap}
.eliminated{color:var(--eliminated)}.pending{color:var(--pending)}.kept{color:var(--muted)}
.good{color:var(--good)}
@media (max-width:600px){
 main{padding:18px 14px 48px}h1{font-size:1.4rem}
 dl{grid-template-columns:1fr}dd{margin-bottom:6px}
}
@media print{
 main{max-width:none;padding:0}
 figure,.tile,table{break-inside:avoid}h2{break-after:avoid}
 .scan,.tile,.notice{-webkit-print-color-adjust:exact;print-color-adjust:exact}
}
"""
)
