// The stream of events from the page's server, and whether it can be trusted to be of now.

const SILENT_MS = 2300; // the daemon tells its status, and the server something, every second
const LOOK_MS = 200;
const AGAIN_MS = 1500;

const EVENTS = ["hello", "status", "alert", "silence", "beat", "wave", "tick"];

export class Stream {
  // `told(name, value)` hears each event; `linked(state)` hears: live, silent (the daemon says nothing), lost (the
  // server says nothing), connecting.
  constructor(told, linked) {
    this.told = told;
    this.linked = linked;
    this.state = "connecting";
    setInterval(() => this.look(), LOOK_MS);
  }

  open(patch) {
    this.source?.close();
    this.patch = patch;
    this.openedMs = performance.now();
    this.source = new EventSource(patch ? `stream?patch=${encodeURIComponent(patch)}` : "stream");
    for (const name of EVENTS) {
      this.source.addEventListener(name, (event) => this.take(name, JSON.parse(event.data)));
    }
    this.source.onerror = () => this.look(true);
  }

  take(name, value) {
    const nowMs = performance.now();
    this.eventMs = nowMs;
    if (name === "hello") this.statusMs = undefined;
    if (name === "status" && value.patch === (this.patch ?? value.patch)) this.statusMs = nowMs;
    this.told(name, value);
    this.look();
  }

  look(broken = false) {
    const nowMs = performance.now();
    const quiet = nowMs - (this.eventMs ?? this.openedMs);
    if (broken || this.source.readyState !== EventSource.OPEN || quiet > SILENT_MS) {
      this.say(this.eventMs === undefined && quiet < SILENT_MS && !broken ? "connecting" : "lost");
      if (nowMs - this.openedMs > AGAIN_MS && (this.source.readyState === EventSource.CLOSED || quiet > 2 * SILENT_MS)) {
        this.open(this.patch);
      }
    } else if (this.statusMs === undefined) {
      this.say(nowMs - this.openedMs > SILENT_MS ? "silent" : "connecting");
    } else {
      this.say(nowMs - this.statusMs > SILENT_MS ? "silent" : "live");
    }
  }

  say(state) {
    if (state === this.state) return;
    this.state = state;
    this.linked(state);
  }
}
