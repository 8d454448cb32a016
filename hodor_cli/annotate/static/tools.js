// The tools on the canvas. A tool gets places in pixels of the frame from the mouse, a pen, a finger or the crosshair.

import { Coverage } from "./labels.js";
import { around } from "./rectangles.js";
import { send } from "./socket.js";
import { adding, current, hide } from "./objects.js";
import { objectOf, on, set, state } from "./state.js";
import { view, inside, pan, redraw, reloadMask } from "./view.js";

const BRUSHES = ["brush", "eraser"];
let held = null;                // the tool in use: {move, up, cancel, draw}, all optional
let hovered = null;             // where the mouse is

const colourNow = () => {
  const { colour } = objectOf() ?? state.fresh;
  return `rgb(${colour.join(" ")})`;
};

// The current object, made visible if hidden; the server creates the first object on the first click.
function target() {
  const entry = objectOf();
  if (!entry && !adding()) set({ object: state.fresh.id });
  else if (entry?.hidden) hide(entry);
  return state.object;
}

// Whether a press removes: the right button, Alt, or the eraser end of a pen.
const removes = (event) => event.button === 2 || event.button === 5 || event.altKey;

// A tap is handled when the finger is lifted, because a second finger turns it into a gesture; a long one removes. A
// finger that moves away moves the picture.
const LONG = 500, FAR = 10;   // milliseconds; screen pixels
const onTap = (event, act) => {
  if (event.pointerType !== "touch") { act(removes(event)); return null; }
  const hand = tools.hand(null, event);
  let moved = false;
  return {
    move(at, to) {
      moved ||= Math.hypot(to.clientX - event.clientX, to.clientY - event.clientY) > FAR;
      if (moved) hand.move(at, to);
    },
    up(_, lifted) { if (!moved) act(lifted.timeStamp - event.timeStamp > LONG); },
  };
};

const tools = {
  click(at, event) {
    if (!inside(at)) return null;
    return onTap(event, (removing) => {
      send({ do: "click", frame: view.shown, object: target(), x: at.x, y: at.y, positive: !removing });
      redraw();
    });
  },

  box(from, event) {
    let to = from;
    return {
      draw(context, unit) {
        context.lineWidth = 2 * unit;
        context.strokeStyle = colourNow();
        context.setLineDash([6 * unit, 4 * unit]);
        context.strokeRect(from.x, from.y, to.x - from.x, to.y - from.y);
        context.setLineDash([]);
      },
      move(at) { redraw(around([from, to, at], 3 / view.scale)); to = at; },
      up(_, lifted) {
        const clip = (value, most) => Math.round(Math.max(0, Math.min(most, value)));
        const x = clip(Math.min(from.x, to.x), state.video.width), y = clip(Math.min(from.y, to.y), state.video.height);
        const width = clip(Math.max(from.x, to.x), state.video.width) - x;
        const height = clip(Math.max(from.y, to.y), state.video.height) - y;
        redraw();
        if (Math.hypot(to.x - from.x, to.y - from.y) * view.scale < FAR / 2) tools.click(from, event)?.up(from, lifted);
        else if (width && height) send({ do: "box", frame: view.shown, object: target(), x, y, width, height });
      },
    };
  },

  brush: (at, event) => paint(at, !removes(event)),
  eraser: (at) => paint(at, false),

  polygon(at, event) {
    return onTap(event, (removing) => {
      const { corners } = state, away = ({ x, y }) => Math.hypot(at.x - x, at.y - y) * view.scale;
      const near = (corner) => away(corner) < 10;
      if (removing) takeCornerBack();
      else if (corners.length > 2 && (near(corners[0]) || away(corners.at(-1)) < 3)) closePolygon();
      else if (!corners.some(near)) set({ corners: [...corners, at] });
    });
  },

  hand(_, event) {
    let last = { x: event.clientX, y: event.clientY };
    return {
      moves: true,
      move(__, moved) {
        pan(moved.clientX - last.x, moved.clientY - last.y);
        last = { x: moved.clientX, y: moved.clientY };
      },
    };
  },
};

// The rectangle around everything that the brush draws at some places: paint, its edges, and the brush's outline.
const brushed = (...at) => around(at, state.brush + view.map.thick + 3 / view.scale);

// A stroke appears immediately and is sent to the server when it ends.
function paint(from, add) {
  const stroke = new Coverage(view.map, target(), add);
  let last = from;
  view.stroke = stroke;
  stroke.line(from, from, state.brush);
  redraw(brushed(from));
  return {
    move(at) { stroke.line(last, at, state.brush); redraw(brushed(last, at)); last = at; },
    up() { view.stroke = null; sendCoverage(stroke); },
    cancel() { view.stroke = null; reloadMask(); },
  };
}

function sendCoverage(coverage) {
  if (!coverage.box) return;
  const { runs, ...box } = coverage.pack();
  const message = { do: "paint", frame: view.shown, object: coverage.object, add: coverage.add, ...box };
  if (send(message, runs)) view.sent.at(-1).coverage = coverage;
}

export function closePolygon() {
  if (state.corners.length > 2) {
    const area = new Coverage(view.map, target(), true);
    area.polygon(state.corners);
    sendCoverage(area);
  }
  set({ corners: [] });
}

// Remove the newest corner of a polygon; true if there was one.
export function takeCornerBack() {
  const some = state.corners.length > 0;
  set({ corners: state.corners.slice(0, -1) });
  return some;
}

view.drawing = () => (held !== null && !held.moves) || state.corners.length > 0;

// Start using a tool. event: says whether the press removes, and how a finger or the hand moves.
export function press(at, event, tool = state.tool) {
  held = tools[tool](at, event);
}

export function move(at, event) {
  held?.move?.(at, event);
}

export function release(at, event) {
  held?.up?.(at, event);
  held = null;
}

export function drop() {
  held?.cancel?.();
  held = null;
  redraw();
}

export const holding = () => held !== null;

// Record where the mouse is; null: outside the canvas.
export function hover(at) {
  const before = hovered;
  hovered = at;
  if (held) return;
  const ends = [before, at].filter(Boolean);
  if (!ends.length) return;
  if (BRUSHES.includes(state.tool)) redraw(brushed(...ends));
  else if (state.corners.length) redraw(around([state.corners.at(-1), ...ends], 3 / view.scale));
}

// Cancel the current drawing; true if there was one.
export function cancel() {
  const busy = view.drawing() || holding();
  set({ corners: [] });
  drop();
  return busy;
}

export function tidy(how) {
  if (current() && view.shown >= 0) send({ do: "tidy", frame: view.shown, object: state.object, how });
}

const pointed = () => state.crosshair ?? hovered;

// Select the object under the pointer.
export function pick() {
  const pointer = pointed();
  const id = pointer && inside(pointer) && view.map.ids[Math.floor(pointer.y) * view.map.width + Math.floor(pointer.x)];
  if (id) set({ object: id });
}

// Drawn at the pointer: the brush's outline, the box and the polygon so far.
view.preview = (context, unit) => {
  const pointer = pointed(), { corners } = state;
  held?.draw?.(context, unit);
  context.lineWidth = 1.5 * unit;
  if (pointer && BRUSHES.includes(state.tool)) {
    context.beginPath();
    context.arc(pointer.x, pointer.y, state.brush, 0, 2 * Math.PI);
    context.strokeStyle = "#000a";
    context.stroke();
    context.setLineDash([4 * unit, 4 * unit]);
    context.strokeStyle = "#fff";
    context.stroke();
    context.setLineDash([]);
  }
  if (corners.length) {
    context.strokeStyle = colourNow();
    context.lineWidth = 2 * unit;
    context.beginPath();
    for (const { x, y } of corners) context.lineTo(x, y);
    if (pointer) context.lineTo(pointer.x, pointer.y);
    context.stroke();
    context.fillStyle = "#fff";
    for (const { x, y } of corners) context.fillRect(x - 3 * unit, y - 3 * unit, 6 * unit, 6 * unit);
  }
};

on("brush corners", redraw);
on("tool", () => {
  cancel();
  view.canvas.dataset.tool = state.tool;
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-pressed", button.dataset.tool === state.tool);
  }
});
