// The connection to the server, which sends events: a line of JSON, followed by bytes for masks.

const AGAIN = 1000;   // milliseconds until the next attempt to connect
const handlers = new Map();
let socket = null;

export function onEvent(name, handler) {
  handlers.set(name, handler);
}

function happen(name, ...details) {
  handlers.get(name)?.(...details);
}

export function connect() {
  const url = new URL("socket", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => happen("online");
  socket.onmessage = ({ data }) => receive(data);
  socket.onclose = () => {
    happen("offline");
    setTimeout(connect, AGAIN);
  };
}

export function send(message, payload = null) {
  if (socket?.readyState !== WebSocket.OPEN) { happen("unsent", message); return false; }
  happen("sent", message);
  const line = JSON.stringify(message);
  if (!payload) socket.send(line);
  else socket.send(new Blob([line, "\n", payload]));
  return true;
}

function receive(data) {
  let payload = null;
  let line = data;
  if (typeof data !== "string") {
    const bytes = new Uint8Array(data);
    const end = bytes.indexOf(10);
    line = new TextDecoder().decode(bytes.subarray(0, end));
    payload = data.slice(end + 1);   // a copy, to align 32-bit numbers
  }
  const event = JSON.parse(line);
  happen(event.event, event, payload);
}
