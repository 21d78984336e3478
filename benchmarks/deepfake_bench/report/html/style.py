"""The style sheet of a page: light and dark, wide and narrow, for screens without any other file."""

from __future__ import annotations

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
p,.note{margin:.3rem 0}.note,small,figcaption{color:var(--soft)}
.counts{display:flex;flex-wrap:wrap;gap:.6rem;margin:.8rem 0;padding:0;list-style:none}
.counts li{background:var(--raised);border-radius:.4rem;padding:.5rem 1rem}.counts b{font-size:1.5rem;display:block}
.met{color:var(--good)}.missed{color:var(--bad);font-weight:600}.not{color:var(--soft)}
.stamp{border:1px solid var(--bad);color:var(--bad);border-radius:.2rem;font-size:.75rem;padding:0 .3rem;
white-space:nowrap}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--line)}
.cards td{overflow-wrap:break-word}
.wide td,th{white-space:nowrap;overflow-wrap:normal}.wide table{font-size:.85rem}.wide th,.wide td{padding-right:.6rem}
.wide td:first-child{white-space:normal;overflow-wrap:anywhere;min-width:8rem}
.number{text-align:right;font-variant-numeric:tabular-nums}
.bars{list-style:none;margin:0;padding:0}
.bars li{display:grid;grid-template-columns:minmax(10rem,22rem) minmax(8rem,1fr) minmax(10rem,18rem);gap:.1rem .8rem;
align-items:center;padding:.25rem 0}
.track{position:relative;height:1.1rem;background:var(--raised);border-radius:.15rem}.track i{position:absolute}
.fill{inset:0 auto 0 0;background:var(--c0);border-radius:.15rem}
.whisker{top:50%;height:2px;margin-top:-1px;background:var(--text)}
.whisker::after{content:"";position:absolute;right:0;top:-4px;height:10px;width:2px;background:var(--text)}
.limit{top:-3px;bottom:-3px;width:3px;background:var(--bad)}.value,.who{font-size:.9rem}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));gap:1rem;margin-top:.8rem}
figure{margin:0;min-width:0;max-width:32rem}.one{grid-template-columns:1fr}figcaption{font-size:.9rem}figure>svg{display:block;width:100%;height:auto}
svg text{fill:var(--soft);font-size:11px}svg .x{text-anchor:middle}svg .y{text-anchor:end}
.grid{stroke:var(--line);stroke-width:1}.line{fill:none;stroke:var(--c);stroke-width:1.8}
.dashed{stroke-dasharray:5 3}.guide{fill:none;stroke:var(--soft);stroke-width:1;stroke-dasharray:4 3}
.mark{fill:var(--c);stroke:none}
.legend{list-style:none;margin:.2rem 0 0;padding:0;font-size:.85rem}.legend li{padding-left:2rem;position:relative}
.legend svg{position:absolute;left:0;top:.35rem;width:1.5rem;height:.75rem}
summary{cursor:pointer;margin:.3rem 0}dl{margin:.3rem 0;font-size:.9rem}dt{font-weight:600}dd{margin:0 0 .3rem 1rem}
@media(max-width:44rem){.bars li{grid-template-columns:1fr}.cards thead{display:none}
.cards tr{display:block;padding:.5rem 0;border-bottom:1px solid var(--line)}
.cards td{display:block;border:0;padding:.05rem 0}.cards td:empty{display:none}
.cards td[data-is]::before{content:attr(data-is) ": ";
color:var(--soft)}.cards .number{text-align:left}}
""".strip()
    + "".join(f".s{place}{{--c:var(--c{place})}}" for place in range(8))
)
