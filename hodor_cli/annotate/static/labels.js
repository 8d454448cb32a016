// Label maps: runs from the server, and pixels to draw. There is one map, that of the frame in view.

import { EVERYTHING, area, around, join, widen, within } from "./rectangles.js";
import { state } from "./state.js";

export class LabelMap {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.ids = new Uint16Array(width * height);
    this.image = new ImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.fill = new Uint32Array(65536);
    this.edge = new Uint32Array(65536);
    this.changed = null;   // the rectangle of ids that have no pixels yet
    this.whole = new OffscreenCanvas(width, height).getContext("2d");
    this.behind = null;    // the rectangle of pixels that `whole` has not got yet
    this.part = new OffscreenCanvas(1, 1).getContext("2d");
  }

  // Note that the ids or colours of a rectangle have changed.
  touch(rectangle) {
    this.changed = join(this.changed, rectangle);
  }

  // Unpack runs (pairs of id and length); null empties the map.
  load(buffer) {
    const { ids, width } = this, runs = buffer ? new Uint32Array(buffer) : [0, ids.length];
    let first = ids.length, last = -1;
    for (let i = 0, at = 0; i < runs.length; i += 2) {
      const id = runs[i];
      for (const end = at + runs[i + 1]; at < end; at += 1) {
        if (ids[at] === id) continue;
        ids[at] = id;
        first = Math.min(first, at);
        last = at;
      }
    }
    if (last >= 0) this.touch({ x0: 0, y0: Math.floor(first / width), x1: width, y1: Math.floor(last / width) + 1 });
  }

  // Colours as 32-bit numbers (ABGR); hidden objects are clear.
  recolour() {
    this.fill.fill(0);
    this.edge.fill(0);
    const alpha = state.outline ? 0 : Math.round(state.opacity * 255);
    for (const { id, hidden, colour } of [...state.objects, state.fresh]) {   // the first stroke of a new object is seen, too
      if (hidden) continue;
      this.fill[id] = pack(colour, alpha);
      this.edge[id] = pack(colour, state.outline ? 255 : Math.min(255, alpha * 2));
    }
    this.touch(EVERYTHING);
  }

  // Draw a rectangle of the map. A part is drawn through a canvas of its size, because a browser copies all of a canvas that
  // changes after it was drawn, and a stroke changes little of the map, many times.
  draw(context, rectangle) {
    this.paint();
    const seen = within(rectangle, this);
    if (!seen) return;
    if (this.behind && 4 * area(seen) < this.ids.length) {
      const { x0, y0, x1, y1 } = seen, wide = x1 - x0, tall = y1 - y0, { canvas } = this.part;
      canvas.width = wide;
      canvas.height = tall;
      this.part.putImageData(this.image, -x0, -y0, x0, y0, wide, tall);
      context.drawImage(canvas, 0, 0, wide, tall, x0, y0, wide, tall);
      return;
    }
    if (this.behind) {
      const { x0, y0, x1, y1 } = this.behind;
      this.whole.putImageData(this.image, 0, 0, x0, y0, x1 - x0, y1 - y0);
      this.behind = null;
    }
    context.drawImage(this.whole.canvas, 0, 0);
  }

  // Give the rectangle that has changed its pixels, with edges where an object borders on another label.
  paint() {
    if (!this.changed) return;
    const { width, height, ids, pixels, fill, edge } = this;
    const thick = Math.max(1, Math.round(Math.min(width, height) / 400)), down = thick * width;
    const { x0, y0, x1, y1 } = within(widen(this.changed, thick), this);
    for (let y = y0; y < y1; y += 1) {
      const top = y >= thick, bottom = y < height - thick;
      for (let at = y * width + x0, x = x0; x < x1; x += 1, at += 1) {
        const id = ids[at];
        if (id === 0) { pixels[at] = 0; continue; }
        const inside = (x < thick || ids[at - thick] === id) && (x >= width - thick || ids[at + thick] === id)
          && (!top || ids[at - down] === id) && (!bottom || ids[at + down] === id);
        pixels[at] = inside ? fill[id] : edge[id];
      }
    }
    this.behind = join(this.behind, { x0, y0, x1, y1 });
    this.changed = null;
  }
}

const pack = ([red, green, blue], alpha) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;

// A stroke or polygon being drawn: the pixels that it covers, and the rectangle around them.
export class Coverage {
  constructor(map, object, add) {
    this.map = map;
    this.object = object;
    this.add = add;
    this.covered = new Uint8Array(map.width * map.height);
    this.box = null;
  }

  // Cover everything within `radius` of the line from a to b.
  line(a, b, radius) {
    this.cover(around([a, b], radius), (context) => {
      context.lineWidth = 2 * radius;
      context.lineCap = "round";
      context.moveTo(a.x, a.y);
      context.lineTo(b.x + 0.001, b.y);   // a line without length would not be drawn
      context.stroke();
    });
  }

  // Cover the inside of a polygon.
  polygon(corners) {
    this.cover(around(corners, 0), (context) => {
      for (const { x, y } of corners) context.lineTo(x, y);
      context.fill();
    });
  }

  // Cover the pixels of a rectangle of which the browser fills more than half when it draws something.
  cover(rectangle, draw) {
    const box = within(rectangle, this.map);
    if (!box) return;
    const { x0, y0 } = box, wide = box.x1 - x0, tall = box.y1 - y0;
    const context = new OffscreenCanvas(wide, tall).getContext("2d", { willReadFrequently: true });
    context.translate(-x0, -y0);
    context.beginPath();
    draw(context);
    const { data } = context.getImageData(0, 0, wide, tall);
    for (let y = y0, from = 3; y < box.y1; y += 1) {
      for (let at = y * this.map.width + x0, end = at + wide; at < end; at += 1, from += 4) {
        if (data[from] <= 127) continue;
        this.covered[at] = 1;
        this.put(at);
      }
    }
    this.box = join(this.box, box);
    this.map.touch(box);
  }

  // Put a covered pixel into the map.
  put(at) {
    const { ids } = this.map;
    if (this.add) ids[at] = this.object;
    else if (ids[at] === this.object) ids[at] = 0;
  }

  // Put all covered pixels into the map, for example after it was loaded.
  apply() {
    if (!this.box) return;
    const { x0, y0, x1, y1 } = this.box, { width } = this.map;
    for (let y = y0; y < y1; y += 1) {
      for (let at = y * width + x0; at < y * width + x1; at += 1) if (this.covered[at]) this.put(at);
    }
    this.map.touch(this.box);
  }

  // The rectangle and its runs of 0 and 1, as the server expects them.
  pack() {
    const { x0, y0, x1, y1 } = this.box;
    const runs = [];
    let value = this.covered[y0 * this.map.width + x0], length = 0;
    for (let y = y0; y < y1; y += 1) {
      for (let at = y * this.map.width + x0; at < y * this.map.width + x1; at += 1) {
        if (this.covered[at] === value) { length += 1; continue; }
        runs.push(value, length);
        value = this.covered[at];
        length = 1;
      }
    }
    runs.push(value, length);
    return { x: x0, y: y0, width: x1 - x0, height: y1 - y0, runs: new Uint32Array(runs) };
  }
}
