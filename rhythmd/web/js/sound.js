// The alarm's sound in this browser: bursts as IEC 60601-1-8 has them, high 10 pulses, medium 3, low 2. Off until
// somebody switches it on: a browser may not begin by itself.

const BURSTS = { // when each pulse begins (s), how long it is, how often the burst comes
  high: { at: [0, 0.2, 0.4, 0.8, 1.0, 1.7, 1.9, 2.1, 2.5, 2.7], for: 0.13, every: 7, hz: 784 },
  medium: { at: [0, 0.35, 0.7], for: 0.2, every: 12, hz: 587 },
  low: { at: [0, 0.4], for: 0.2, every: 25, hz: 440 },
};

export class Sound {
  constructor() {
    this.on = false;
    this.priority = null;
    this.dueMs = 0;
    setInterval(() => this.look(), 250);
  }

  switch(on) {
    this.on = on;
    this.context ??= new AudioContext();
    if (on) this.context.resume();
    this.dueMs = 0;
  }

  call(priority) {
    // What calls now, or null. One that is more urgent does not wait for the last burst's pause.
    if (priority !== this.priority) this.dueMs = 0;
    this.priority = priority;
  }

  look() {
    if (!this.on || !this.priority || performance.now() < this.dueMs) return;
    const burst = BURSTS[this.priority];
    this.dueMs = performance.now() + 1000 * burst.every;
    for (const at of burst.at) this.pulse(this.context.currentTime + 0.05 + at, burst);
  }

  pulse(at, { for: length, hz }) {
    const gain = this.context.createGain();
    gain.connect(this.context.destination);
    gain.gain.setValueAtTime(0, at);
    gain.gain.linearRampToValueAtTime(0.25, at + 0.02);
    gain.gain.setValueAtTime(0.25, at + length - 0.03);
    gain.gain.linearRampToValueAtTime(0, at + length);
    for (const harmonic of [1, 2, 3, 4]) { // several, so that no single worn loudspeaker hides it
      const tone = this.context.createOscillator();
      const part = this.context.createGain();
      part.gain.value = 0.5 / harmonic;
      tone.frequency.value = hz * harmonic;
      tone.connect(part).connect(gain);
      tone.start(at);
      tone.stop(at + length);
    }
  }
}
