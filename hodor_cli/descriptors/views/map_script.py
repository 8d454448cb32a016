"""The page that `map_page` fills: markup, style and script of the interactive map, in one piece."""

from __future__ import annotations

PAGE_TEMPLATE = r"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>__TITLE__</title>
<style>
  * { box-sizing: border-box; }
  html, body { margin: 0; height: 100%; font: 14px/1.4 system-ui, sans-serif; color: #1a1a1a; background: #fff; }
  body { display: flex; overflow: hidden; }
  #stage { position: relative; flex: 1; min-width: 0; }
  canvas { display: block; width: 100%; height: 100%; cursor: grab; touch-action: none; }
  canvas.dragging { cursor: grabbing; }
  aside { width: 260px; padding: 16px; border-left: 1px solid #ddd; overflow: auto; }
  h1 { font-size: 16px; margin: 0 0 4px; overflow-wrap: anywhere; }
  .faint { color: #666; font-size: 12px; }
  label { display: block; margin: 12px 0 4px; }
  select, input[type=search], input[type=range] { width: 100%; font: inherit; }
  button { font: inherit; margin-top: 12px; padding: 4px 10px; }
  #legend { margin-top: 16px; }
  #legend div { display: flex; gap: 8px; align-items: center; padding: 1px 0; overflow-wrap: anywhere; }
  #legend div[data-name] { cursor: pointer; }
  #legend div.off { opacity: .35; }
  #legend i { width: 14px; height: 14px; border-radius: 3px; flex: none; }
  #tip { position: absolute; display: none; pointer-events: none; background: #fff; border: 1px solid #bbb;
         border-radius: 6px; padding: 8px; box-shadow: 0 2px 10px #0003; max-width: 240px; }
  #tip canvas { width: 160px; height: 160px; cursor: default; }
  #tip b { overflow-wrap: anywhere; }
  @media (max-width: 700px) {
    body { flex-direction: column; }
    #stage { min-height: 0; }
    aside { width: auto; height: 38%; padding: 12px; border-left: 0; border-top: 1px solid #ddd; }
    #tip canvas { width: 96px; height: 96px; }
  }
</style>
</head>
<body>
<div id="stage"><canvas id="map" tabindex="0" aria-label="map of descriptors"></canvas>
  <div id="tip"><canvas id="big" width="192" height="192"></canvas><div id="what"></div></div></div>
<aside>
  <h1>__TITLE__</h1>
  <div class="faint" id="about"></div>
  <label for="colour">Colour by</label>
  <select id="colour"><option value="video">video</option><option value="object">object</option>
    <option value="frame">frame</option></select>
  <label for="size">Size of crops</label>
  <input type="range" id="size" min="6" max="140" value="44">
  <label><input type="checkbox" id="lines"> join each object's frames</label>
  <label for="filter">Show only videos or objects named</label>
  <input type="search" id="filter" placeholder="bear, bear/1 ...">
  <button id="reset">Whole map</button>
  <div class="faint" style="margin-top:12px">Wheel or pinch to zoom, drag to move, + and - and arrow keys as well.
    Click a name below to hide it.</div>
  <div id="legend"></div>
</aside>
<script>
"use strict";
const DATA = __DATA__;
const atlas = new Image();
atlas.onload = () => draw();
atlas.src = "__ATLAS__";
const $ = id => document.getElementById(id);
const canvas = $("map"), ctx = canvas.getContext("2d");
const P = DATA.points, name = i => DATA.videos[P[i][2]] + "/" + P[i][3];
let view = {x: 0, y: 0, scale: 1}, hover = -1, hidden = new Set(), visible = P.map(() => true);
const byFrame = P.map((_, i) => i).sort((a, b) => P[a][4] - P[b][4] || a - b);

function fit() {
  const box = canvas.getBoundingClientRect();
  view = {x: 0, y: 0, scale: Math.min(box.width, box.height) / 2 * 0.92};
  draw();
}
function resize() {
  const box = $("stage").getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(box.width * ratio); canvas.height = Math.round(box.height * ratio);
  draw();
}
const middle = () => [canvas.clientWidth / 2, canvas.clientHeight / 2];
function place(i) {
  const [mx, my] = middle();
  return [mx + (P[i][0] - view.x) * view.scale, my - (P[i][1] - view.y) * view.scale];
}
function side() {
  // Crops grow a little when zooming in, so that crowds open up but stay readable.
  const whole = Math.min(canvas.clientWidth, canvas.clientHeight) / 2 * 0.92;
  return +$("size").value * Math.min(Math.sqrt(Math.max(view.scale / whole, 0.25)), 3);
}
function draw() {
  const ratio = window.devicePixelRatio || 1, scheme = DATA.schemes[$("colour").value];
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  if ($("lines").checked) {
    ctx.lineWidth = 1.5; ctx.globalAlpha = 0.7;
    for (let i = 1; i < P.length; i++) {
      if (!visible[i] || P[i][2] !== P[i - 1][2] || P[i][3] !== P[i - 1][3]) continue;
      ctx.strokeStyle = scheme.colours[scheme.of[i]];
      ctx.beginPath(); ctx.moveTo(...place(i - 1)); ctx.lineTo(...place(i)); ctx.stroke();
    }
    ctx.globalAlpha = 1;
  }
  for (const i of byFrame) if (visible[i] && i !== hover) drawPoint(i, scheme, side());
  if (hover >= 0 && visible[hover]) drawPoint(hover, scheme, side() * 1.25);
}
function drawPoint(i, scheme, size) {
  const [x, y] = place(i);
  if (x < -size || y < -size || x > canvas.clientWidth + size || y > canvas.clientHeight + size) return;
  ctx.fillStyle = scheme.colours[scheme.of[i]];
  if (DATA.crops[i] && atlas.complete && atlas.naturalWidth && size >= 10) {
    const [w, h] = drawnSize(i, size);
    ctx.fillRect(x - w / 2 - 2, y - h / 2 - 2, w + 4, h + 4);
    drawCrop(ctx, i, x, y, size);
  } else {
    ctx.beginPath(); ctx.arc(x, y, Math.max(3, size / 5), 0, 7); ctx.fill();
  }
}
function drawnSize(i, size) {
  const [w, h] = DATA.crops[i] || [1, 1], scale = size / Math.max(w, h);
  return [w * scale, h * scale];
}
function drawCrop(target, i, x, y, size) {
  const t = DATA.tile, [w, h] = drawnSize(i, size);
  target.drawImage(atlas, i % DATA.columns * t, Math.floor(i / DATA.columns) * t, ...DATA.crops[i],
    x - w / 2, y - h / 2, w, h);
}
function at(px, py) {
  // The nearest point under the pointer; what is drawn last lies on top.
  let best = -1, least = Infinity;
  for (let i = 0; i < P.length; i++) {
    if (!visible[i]) continue;
    const [x, y] = place(i), [w, h] = drawnSize(i, side()), dx = Math.abs(x - px), dy = Math.abs(y - py);
    const d = Math.max(dx, dy);
    if (dx <= Math.max(w / 2 + 2, 6) && dy <= Math.max(h / 2 + 2, 6) && d < least) { best = i; least = d; }
  }
  return best;
}
function show(px, py) {
  const found = at(px, py), tip = $("tip");
  if (found !== hover) { hover = found; draw(); }
  if (found < 0) { tip.style.display = "none"; return; }
  const big = $("big").getContext("2d"), p = P[found];
  $("big").style.display = DATA.crops[found] ? "block" : "none";
  if (DATA.crops[found]) { big.clearRect(0, 0, 192, 192); drawCrop(big, found, 96, 96, 192); }
  $("what").replaceChildren();
  const title = document.createElement("b"), rest = document.createElement("div");
  title.textContent = name(found);
  rest.textContent = "frame " + p[4] + (p[5] === null ? "" : ", " + p[5].toFixed(2) + " s") +
    (p[6] < 1 ? ", confidence " + p[6].toFixed(2) : "");
  rest.className = "faint";
  $("what").append(title, rest);
  tip.style.display = "block";
  const w = tip.offsetWidth, h = tip.offsetHeight;
  tip.style.left = Math.max(4, px + 16 + w > canvas.clientWidth ? px - w - 16 : px + 16) + "px";
  tip.style.top = Math.max(4, Math.min(py + 16, canvas.clientHeight - h - 4)) + "px";
}
function zoom(factor, px, py) {
  const [mx, my] = middle();
  const x = view.x + (px - mx) / view.scale, y = view.y - (py - my) / view.scale;
  view.scale = Math.min(Math.max(view.scale * factor, 20), 2e5);
  view.x = x - (px - mx) / view.scale; view.y = y + (py - my) / view.scale;
  draw();
}
const local = e => { const b = canvas.getBoundingClientRect(); return [e.clientX - b.left, e.clientY - b.top]; };
canvas.addEventListener("wheel", e => { e.preventDefault(); zoom(Math.exp(-e.deltaY * 0.0015), ...local(e)); },
  {passive: false});
const fingers = new Map();
canvas.addEventListener("pointerdown", e => {
  canvas.setPointerCapture(e.pointerId); fingers.set(e.pointerId, local(e)); canvas.classList.add("dragging");
});
canvas.addEventListener("pointermove", e => {
  const now = local(e);
  if (!fingers.has(e.pointerId)) { show(...now); return; }
  const before = fingers.get(e.pointerId);
  if (fingers.size === 2) {
    const other = [...fingers].find(([id]) => id !== e.pointerId)[1];
    const d0 = Math.hypot(before[0] - other[0], before[1] - other[1]);
    const d1 = Math.hypot(now[0] - other[0], now[1] - other[1]);
    if (d0 > 0) zoom(d1 / d0, other[0], other[1]);
  } else { view.x -= (now[0] - before[0]) / view.scale; view.y += (now[1] - before[1]) / view.scale; draw(); }
  fingers.set(e.pointerId, now);
});
for (const end of ["pointerup", "pointercancel"])
  canvas.addEventListener(end, e => { fingers.delete(e.pointerId); canvas.classList.remove("dragging"); });
canvas.addEventListener("pointerleave", () => { hover = -1; $("tip").style.display = "none"; draw(); });
canvas.addEventListener("keydown", e => {
  const step = 60 / view.scale, [mx, my] = middle();
  const act = {"+": () => zoom(1.3, mx, my), "=": () => zoom(1.3, mx, my), "-": () => zoom(1 / 1.3, mx, my), "0": fit,
    ArrowLeft: () => view.x -= step, ArrowRight: () => view.x += step, ArrowUp: () => view.y += step,
    ArrowDown: () => view.y -= step}[e.key];
  if (act) { act(); draw(); e.preventDefault(); }
});
function legend() {
  const box = $("legend"), by = $("colour").value;
  box.replaceChildren();
  for (const [text, colour] of Object.entries(DATA.schemes[by].legend)) {
    const row = document.createElement("div"), swatch = document.createElement("i");
    swatch.style.background = colour;
    row.append(swatch, document.createTextNode(text));
    if (by !== "frame") {
      row.dataset.name = text;
      row.classList.toggle("off", hidden.has(text));
      row.onclick = () => { hidden.has(text) ? hidden.delete(text) : hidden.add(text); legend(); filter(); };
    }
    box.append(row);
  }
}
function filter() {
  const words = $("filter").value.split(/[\s,]+/).filter(Boolean);
  visible = P.map((p, i) => !hidden.has(DATA.videos[p[2]]) && !hidden.has(name(i)) &&
    (!words.length || words.some(word => word.includes("/") ? name(i) === word : name(i).includes(word))));
  about(); draw();
}
function about() {
  const shown = visible.filter(Boolean).length;
  $("about").textContent = DATA.method + " of " + P.length + " of " + DATA.rows + " " + DATA.what +
    ", seed " + DATA.seed + (shown < P.length ? "; " + shown + " shown" : "");
}
$("colour").value = DATA.colourBy; $("lines").checked = DATA.trajectories;
$("colour").onchange = () => { legend(); draw(); };
$("size").oninput = $("lines").onchange = draw;
$("filter").oninput = filter;
$("reset").onclick = fit;
window.addEventListener("resize", resize);
legend(); about(); resize();
$("size").value = Math.round(Math.min(Math.max(1.3 * Math.min(...middle()) * 2 / Math.sqrt(P.length), 14), 80));
fit();
</script>
</body>
</html>
"""
