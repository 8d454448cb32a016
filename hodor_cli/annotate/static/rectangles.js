// Rectangles {x0, y0, x1, y1}: columns from x0 to before x1, rows from y0 to before y1.

export const EVERYTHING = { x0: -Infinity, y0: -Infinity, x1: Infinity, y1: Infinity };

// The smallest rectangle around two others; the first may be null.
export const join = (a, b) => (a === null ? b
  : { x0: Math.min(a.x0, b.x0), y0: Math.min(a.y0, b.y0), x1: Math.max(a.x1, b.x1), y1: Math.max(a.y1, b.y1) });

// A rectangle with a margin.
export const widen = ({ x0, y0, x1, y1 }, margin) => ({ x0: x0 - margin, y0: y0 - margin, x1: x1 + margin, y1: y1 + margin });

// The rectangle around places {x, y}, with a margin.
export function around(places, margin) {
  const xs = places.map(({ x }) => x), ys = places.map(({ y }) => y);
  return widen({ x0: Math.min(...xs), y0: Math.min(...ys), x1: Math.max(...xs), y1: Math.max(...ys) }, margin);
}

// The rectangle rounded outward to whole pixels and clipped to a picture; null if nothing is left.
export function within({ x0, y0, x1, y1 }, { width, height }) {
  const cut = { x0: Math.max(0, Math.floor(x0)), y0: Math.max(0, Math.floor(y0)), x1: Math.min(width, Math.ceil(x1)), y1: Math.min(height, Math.ceil(y1)) };
  return cut.x1 > cut.x0 && cut.y1 > cut.y0 ? cut : null;
}

export const area = ({ x0, y0, x1, y1 }) => (x1 - x0) * (y1 - y0);
