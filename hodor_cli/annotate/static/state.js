// The state of the page, and the listeners for its changes.

export const state = {
  video: null,            // {name, width, height, fps, start, end, folder}
  frames: new Map(),      // index -> {given: Set of ids, seen: Map of id -> confidence (-1: lost), absent: Set of ids}
  objects: [],            // {id, name, hidden, colour: [r, g, b]}
  fresh: null,            // {id, colour} of the next new object
  review: [],             // {object, reason, first, last, detail}
  suggest: [],            // {frame, gain}: the frames to mask next, the most useful first
  exports: [],            // {kind, title, about}
  frame: 0,
  object: 1,
  tool: "click",
  corners: [],            // of the polygon being drawn: {x, y} in pixels of the frame
  crosshair: null,        // {x, y} in pixels of the frame while it is shown
  brush: 16,              // radius in pixels of the frame
  opacity: 0.5,
  outline: false,
  checking: false,        // whether the server is looking for frames to review
  job: null,              // {job, share, rate, left} while one is running
  undo: false,
  redo: false,
  ready: false,           // the network is loaded
};

const listeners = new Map();

// Call `listener` whenever one of the topics (names of fields, separated by spaces) changes.
export function on(topics, listener) {
  for (const topic of topics.split(" ")) {
    if (!listeners.has(topic)) listeners.set(topic, new Set());
    listeners.get(topic).add(listener);
  }
}

export function notify(...topics) {
  const called = new Set(topics.flatMap((topic) => [...(listeners.get(topic) ?? [])]));
  for (const listener of called) listener();
}

export function set(values) {
  Object.assign(state, values);
  notify(...Object.keys(values));
}

// Take over a frame's state from the server: [index, given ids, [[id, confidence], ...], ids absent from there on].
export function learn([index, given, seen, absent]) {
  if (!seen.length && !given.length && !absent.length) state.frames.delete(index);
  else state.frames.set(index, { given: new Set(given), seen: new Map(seen), absent: new Set(absent) });
}

// An object's colour on the page: adjusted to similar brightness for all objects, to suit dark and light themes.
export function pageColour(colour) {
  const most = Math.max(...colour, 1);
  const vivid = colour.map((value) => 50 + (value * 195) / most);
  const light = 0.21 * vivid[0] + 0.72 * vivid[1] + 0.07 * vivid[2];
  const white = Math.max(0, (105 - light) / (255 - light)), less = Math.min(1, 150 / light);
  const pale = most < 100 ? 0.5 : 0, dark = most > 150 ? 0.65 : 1;   // colours that differ in brightness only
  return vivid.map((value) => Math.round(((value + (255 - value) * white) * less * (1 - pale) + 255 * pale) * dark));
}

export const objectOf = (id = state.object) => state.objects.find((entry) => entry.id === id);

// How texts refer to an object; a name that several have is followed by the id.
export const title = ({ id, name }) => {
  const shared = name && state.objects.some((one) => one.name === name && one.id !== id);
  return shared ? `${name} (${id})` : name || `Object ${id}`;
};
export const nameOf = (id) => title(objectOf(id) ?? { id });

// Whether there is only one frame, so that there is nothing to track.
export const isPicture = () => state.video?.end - state.video?.start === 1;

export const clampFrame = (index) => Math.max(state.video.start, Math.min(state.video.end - 1, Math.round(index)));
