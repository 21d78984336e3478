"""The style sheet of a page: light and dark, wide and narrow, for screens without any other file."""

from __future__ import annotations

_CARDS = """
.{kind} thead{{display:none}}.{kind},.{kind} tbody{{display:block}}
.{kind} tr{{display:block;padding:.5rem 0;border-bottom:1px solid var(--line)}}
.{kind} td{{display:block;border:0;padding:.05rem 0}}
.{kind} td:not(.number){{min-width:0}}.{kind} td:empty{{display:none}}
.{kind} td:first-child{{font-weight:600}}
.{kind} td[data-is]::before{{content:attr(data-is) ": ";color:var(--soft);font-weight:400}}
.{kind} .number{{text-align:left}}
"""
"""Each row of a table as a block of lines."""

STYLE = (
    """
:root{color-scheme:light dark;--ground:#fff;--text:#1b1f24;--soft:#5b6470;--line:#d9dee4;--raised:#f5f7f9;
--good:#08703f;--bad:#b3261e;--c0:#0072b2;--c1:#d55e00;--c2:#00805d;--c3:#b0508f;--c4:#857600;--c5:#3b9fd6;--c6:#444;
--c7:#6a3d9a}
@media(prefers-color-scheme:dark){:root{--ground:#14171b;--text:#e6e9ed;--soft:#9aa4b0;--line:#343b44;--raised:#1d2228;
--good:#5fd39a;--bad:#ff8a80;--c0:#56b4e9;--c1:#ff8f4d;--c2:#3ecf9f;--c3:#e59ccb;--c4:#e6b53c;--c5:#8ecbf0;--c6:#ddd;
--c7:#bfa2da}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:76rem;padding:1rem 1rem 4rem;background:var(--ground);
color:var(--text);overflow-wrap:anywhere}
h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.25rem;margin:2.2rem 0 .6rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.4rem 0 .4rem}h4{font-size:.95rem;margin:1rem 0 .2rem}
p,.note{margin:.3rem 0}.note,small,figcaption{color:var(--soft)}a{color:var(--c0)}
code{font-size:.85em}
.counts{display:flex;flex-wrap:wrap;gap:.6rem;margin:.8rem 0;padding:0;list-style:none}
.counts li{background:var(--raised);border-radius:.4rem;padding:.5rem 1rem}.counts b{font-size:1.5rem;display:block}
.met{color:var(--good)}.missed{color:var(--bad);font-weight:600}.not{color:var(--soft)}
.stamp{border:1px solid var(--bad);color:var(--bad);border-radius:.2rem;font-size:.75rem;padding:0 .3rem;
white-space:nowrap}
table{border-collapse:collapse;width:100%;font-size:.9rem;margin:.3rem 0}.wide{font-size:.85rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--line)}
.wide th,.wide td{padding-right:.6rem}th{vertical-align:bottom;overflow-wrap:normal}
.number{text-align:right;font-variant-numeric:tabular-nums;overflow-wrap:normal}
.ends{display:inline-block}.pairs{width:auto}
.bars{list-style:none;margin:0;padding:0}
.bars li{display:grid;grid-template-columns:minmax(10rem,20rem) minmax(8rem,1fr) minmax(10rem,18rem);gap:.1rem .8rem;
align-items:center;padding:.25rem 0}
.track,.scale span{position:relative;height:1.1rem;margin:0 1.3rem 0 .8rem}
.track{background:var(--raised);border-radius:.15rem}.track i{position:absolute}
.tick{top:0;bottom:0;width:1px;background:var(--line)}
.dot{top:50%;width:.7rem;height:.7rem;margin:-.35rem;border-radius:50%;background:var(--c0)}
.whisker{top:50%;height:2px;margin-top:-1px;background:var(--c0)}
.whisker::after{content:"";position:absolute;right:0;top:-4px;height:10px;width:2px;background:var(--c0)}
.limit{top:-3px;bottom:-3px;width:3px;margin-left:-1px;background:var(--bad)}.value,.who{font-size:.9rem}
.bars .scale{padding:0;height:1.1rem;color:var(--soft);font-size:.75rem}
.scale b{position:absolute;transform:translateX(-50%);font-weight:400;white-space:nowrap}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));gap:1rem;margin-top:.8rem}
figure{margin:0;min-width:0;max-width:32rem}.one{grid-template-columns:1fr}figcaption{font-size:.9rem}
figure>svg{display:block;width:100%;height:auto}
svg text{fill:var(--soft);font-size:11px}svg .x{text-anchor:middle}svg .y{text-anchor:end}
.grid{stroke:var(--line);stroke-width:1}.line{fill:none;stroke:var(--c);stroke-width:1.8}
.dashed{stroke-dasharray:5 3}.guide{fill:none;stroke:var(--soft);stroke-width:1;stroke-dasharray:4 3}
.mark{fill:var(--c);stroke:none}
.legend{list-style:none;margin:.2rem 0 0;padding:0;font-size:.85rem}.legend li{padding-left:2rem;position:relative}
.legend svg{position:absolute;left:0;top:.35rem;width:1.5rem;height:.75rem}
summary{cursor:pointer;margin:.3rem 0}dl{margin:.3rem 0;font-size:.9rem}dt{font-weight:600}dd{margin:0 0 .3rem 1rem}
""".strip()
    + "".join(f".s{place}{{--c:var(--c{place})}}" for place in range(8))
    + "td:not(.number){min-width:6.5rem}.wide td:nth-child(-n+2):not(.number){min-width:11rem}"
    + f"@media(max-width:68rem){{{_CARDS.format(kind='wide').strip()}"
    + ".wide td:not(:empty){display:inline-block;max-width:100%;padding-right:1rem}"
    + ".wide td:nth-child(-n+2):not(.number){min-width:0}}"
    + "@media(max-width:44rem){.bars li{grid-template-columns:1fr}.scale span:first-child{display:none}"
    + f"{_CARDS.format(kind='few').strip()}}}"
)
