// The strip below the picture: thumbnails, a row of confidence for each object, marks, and the frame in view.

import { state, on, set, clampFrame } from "./state.js";
import { go } from "./view.js";

const canvas = document.getElementById("strip");
const context = canvas.getContext("2d");
const THUMBS = 54, MARKS = 11, BAND = 36, FEW_ROWS = 3, MOST_ROWS = 12;   // the strip keeps its height with every object

let thumbs = new Map();      // frame -> ImageBitmap
let wanted = [];
let waiting = false;
let playing = null;
let hovered = null;          // the frame under the pointer

export function loadThumbs() {
  fetchThumbs().catch(() => setTimeout(loadThumbs, 3000));   // the server is away
}

async function fetchThumbs() {
  const listed = await (await fetch("thumbs")).json();
  wanted = listed.all;
  const fresh = listed.ready.filter((index) => !thumbs.has(index));
  await Promise.all(fresh.map(async (index) => {
    const answer = await fetch(`thumb/${index}`);
    if (answer.ok) thumbs.set(index, await createImageBitmap(await answer.blob()));
  }));
  redraw();
  if (thumbs.size < wanted.length) setTimeout(loadThumbs, thumbs.size ? 1500 : 400);
}

const count = () => Math.max(1, state.video.end - state.video.start);
const width = () => canvas.clientWidth;
const xOf = (index) => ((index - state.video.start) / count()) * width();
const frameAt = (x) => clampFrame(state.video.start + Math.floor((x / Math.max(1, width())) * count()));

// The objects whose rows are shown: the current one and those around it.
function rows() {
  const place = state.objects.findIndex(({ id }) => id === state.object), last = state.objects.length - MOST_ROWS;
  const first = Math.max(0, Math.min(last, place - MOST_ROWS / 2));
  return state.objects.slice(first, first + MOST_ROWS);
}

function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

function draw() {
  if (!state.video) return;
  const dense = devicePixelRatio || 1, tall = THUMBS + MARKS + BAND + 2;
  canvas.style.height = `${tall}px`;
  canvas.width = Math.round(width() * dense);
  canvas.height = Math.round(tall * dense);
  context.scale(dense, dense);
  const style = getComputedStyle(document.body);
  context.fillStyle = style.getPropertyValue("--field");
  context.fillRect(0, 0, width(), tall);
  drawThumbs();
  drawMarks(style);
  const shownRows = rows(), each = BAND / Math.max(FEW_ROWS, shownRows.length), gap = each > 5 ? 3 : 1;
  shownRows.forEach((entry, number) => drawRow(entry, THUMBS + MARKS + number * each, each - gap, style));
  const x = xOf(state.frame), wide = Math.max(2, width() / count());
  context.fillStyle = style.getPropertyValue("--accent");
  context.globalAlpha = 0.35;
  context.fillRect(x, 0, wide, tall);
  context.globalAlpha = 1;
  context.fillRect(x + wide / 2 - 1, 0, 2, tall);
  if (hovered !== null) drawHovered(style, tall);
}

function drawHovered(style, tall) {
  const x = xOf(hovered) + width() / count() / 2;
  context.font = "600 12px system-ui, sans-serif";
  const wide = context.measureText(hovered).width + 12, left = Math.max(0, Math.min(width() - wide, x - wide / 2));
  context.fillStyle = style.getPropertyValue("--text");
  context.fillRect(x - 0.5, 0, 1, tall);
  context.beginPath();
  context.roundRect(left, 3, wide, 18, 5);
  context.fill();
  context.fillStyle = style.getPropertyValue("--panel");
  context.fillText(hovered, left + 6, 16);
}

function drawThumbs() {
  const any = thumbs.values().next().value;
  if (!any) return;
  const wide = Math.max(24, any.width), number = Math.ceil(width() / wide);
  const ready = [...thumbs.keys()].sort((a, b) => a - b);
  for (let slot = 0; slot < number; slot += 1) {
    const middle = frameAt((slot + 0.5) * wide);
    const nearest = ready.reduce((best, index) => (Math.abs(index - middle) < Math.abs(best - middle) ? index : best));
    context.drawImage(thumbs.get(nearest), slot * wide, 0, wide, THUMBS);
  }
}

function drawMarks(style) {
  const wide = Math.max(2, width() / count());
  const middle = (index) => Math.max(5, Math.min(width() - 5, xOf(index) + wide / 2));   // marks of the first and last frame are whole
  context.fillStyle = style.getPropertyValue("--doubt");
  for (const { first, last } of state.review) context.fillRect(xOf(first), THUMBS + 6, Math.max(wide, xOf(last + 1) - xOf(first)), 3);
  context.fillStyle = style.getPropertyValue("--accent");
  for (const { frame } of openSuggestions()) {
    const x = middle(frame), y = THUMBS + 4.5;
    context.beginPath();
    for (const [dx, dy] of [[0, -4.5], [4.5, 0], [0, 4.5], [-4.5, 0]]) context.lineTo(x + dx, y + dy);
    context.fill();
  }
  context.fillStyle = style.getPropertyValue("--text");
  for (const [index, { given }] of state.frames) {
    if (!given.size) continue;
    const x = middle(index);
    context.beginPath();
    context.moveTo(x - 4, THUMBS + 1);
    context.lineTo(x + 4, THUMBS + 1);
    context.lineTo(x, THUMBS + 7);
    context.fill();
  }
}

// An object's row: solid where it was made by hand, shaded by confidence where it was tracked, a grey line where it is lost.
function drawRow({ id, colour }, top, tall, style) {
  const own = `rgb(${colour.join(" ")})`, grey = style.getPropertyValue("--quiet");
  for (const [index, { given, seen }] of state.frames) {
    const confidence = seen.get(id), lost = confidence < 0;
    if (confidence === undefined) continue;
    const left = Math.round(xOf(index)), right = Math.max(left + 1, Math.round(xOf(index + 1)));   // no seam between frames
    context.fillStyle = lost ? grey : own;
    const high = given.has(id) ? 1 : lost ? 0.15 : Math.max(0.2, (confidence - 0.4) / 0.6);
    context.globalAlpha = given.has(id) || lost ? 1 : 0.4 + 0.45 * confidence;
    context.fillRect(left, top + tall * (1 - high), right - left, tall * high);
  }
  context.globalAlpha = 1;
}

// Play at the video's frame rate, or slower if frames arrive late.
export async function play(wish = !playing) {
  if (!wish || playing) { playing = null; show(); return; }
  const mine = {};
  playing = mine;
  show();
  if (state.frame >= state.video.end - 1) await go(state.video.start);
  const began = performance.now(), from = state.frame;
  while (playing === mine && state.frame < state.video.end - 1) {
    const due = from + Math.floor(((performance.now() - began) / 1000) * state.video.fps);
    if (due > state.frame) await go(due);
    await new Promise(requestAnimationFrame);
  }
  if (playing === mine) playing = null;
  show();
}

function show() {
  document.getElementById("play").setAttribute("aria-pressed", Boolean(playing));
}

export function nextReview(way) {
  const starts = [...new Set(state.review.map((item) => item.first))].sort((a, b) => a - b);
  const found = way > 0 ? starts.find((index) => index > state.frame) : starts.reverse().find((index) => index < state.frame);
  if (found !== undefined) go(found);
}

// Suggested frames that have not been masked since.
export const openSuggestions = () => state.suggest.filter(({ frame }) => !state.frames.get(frame)?.given.size);

export function nextSuggestion() {
  const found = openSuggestions();
  const next = found[(found.findIndex(({ frame }) => frame === state.frame) + 1) % found.length];
  if (next) go(next.frame);
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  play(false);
  go(frameAt(event.offsetX));
});
canvas.addEventListener("pointermove", (event) => {
  if (!state.video) return;
  hovered = frameAt(event.offsetX);
  if (event.buttons & 1) go(hovered);
  redraw();
});
for (const name of ["pointerleave", "pointercancel"]) canvas.addEventListener(name, () => { hovered = null; redraw(); });
document.getElementById("play").addEventListener("click", () => play());
document.getElementById("previous").addEventListener("click", () => go(state.frame - 1));
document.getElementById("next").addEventListener("click", () => go(state.frame + 1));
const number = document.getElementById("frame");
number.addEventListener("change", () => go(Number(number.value) || 0));
on("frame", () => { number.value = state.frame; canvas.ariaValueNow = state.frame; });
on("video", () => {
  if (!state.video) return;
  number.min = canvas.ariaValueMin = state.video.start;
  number.max = canvas.ariaValueMax = state.video.end - 1;
  document.getElementById("of").textContent = `of ${state.video.end - 1}`;
});
on("frame frames object objects review suggest video theme", redraw);
new ResizeObserver(redraw).observe(canvas.parentElement);
