// The sweep of a bedside monitor: the trace is written from left to right over the one before, behind an erase bar. It
// may take several rows, one after the other, where the screen is high enough.

import { fitted, grid, pulse } from "./paper.js";

const RATE_HZ = 250;
const KEPT = 80 * RATE_HZ; // slots, more than any screen shows
const ROW_MM = 35;
const GUTTER_MM = 8; // the pulse of 1 mV
const ERASE_MM = 7;
const MARKS_MM = 5;
const LETTER_PX = 8; // half of one, and some
const LAG_S = 0.4; // what is there is written so late: blocks come by the tenth of a second, and not evenly
const STARVED_MS = 1200;
const BRIDGED_S = 2;

export class Sweep {
  // A slot is 1/250 s of the screen's time, which goes on also when nothing comes.
  constructor(paper, trace) {
    this.paper = paper;
    this.trace = trace;
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.ring = new Float32Array(KEPT).fill(NaN); // mV, by slot
    this.end = 0; // the slot after the newest one
    this.head = 0; // up to where it is written, a fraction too
    this.drawn = 0;
    this.pieces = []; // {slot, atS}: from there on slots and the patch's time go together
    this.marks = []; // {slot, beat}
    this.frameMs = this.waveMs = performance.now();
  }

  lay({ pxPerMm, speed, gain, colours }) {
    const width = this.trace.clientWidth, height = this.trace.clientHeight;
    this.colours = colours;
    this.pxPerMm = pxPerMm;
    this.pxPerMv = gain * pxPerMm;
    this.pxPerSlot = (speed * pxPerMm) / RATE_HZ;
    this.left = GUTTER_MM * pxPerMm;
    this.rows = Math.max(1, Math.floor(height / (ROW_MM * pxPerMm)));
    this.rowMm = Math.max(5, 5 * Math.floor(height / this.rows / pxPerMm / 5));
    this.baseMm = Math.min(this.rowMm, 5 * Math.round((0.64 * this.rowMm) / 5));
    this.rowSlots = Math.max(RATE_HZ / 2, Math.floor((width - this.left) / this.pxPerSlot));
    this.screenSlots = Math.min(KEPT - RATE_HZ, this.rows * this.rowSlots);
    this.eraseSlots = Math.ceil((ERASE_MM * pxPerMm) / this.pxPerSlot);

    const paper = fitted(this.paper);
    grid(paper, width, height, pxPerMm, colours);
    for (let row = 0; row < this.rows; row++) {
      const base = this.baseline(row);
      pulse(paper, 0.5 * pxPerMm, base, pxPerMm, gain, colours.dim);
      paper.fillStyle = colours.dim;
      paper.font = `11px ${colours.font}`;
      paper.fillText("1 mV", 1.2 * pxPerMm, base + 14);
    }
    this.context = fitted(this.trace);
    this.context.lineJoin = this.context.lineCap = "round";
    this.context.textAlign = "center";
    this.redraw();
  }

  baseline(row) {
    return Math.round((row * this.rowMm + this.baseMm) * this.pxPerMm) + 0.5;
  }

  begin(wave, beats) {
    // A new stream: what is known already stands there at once.
    this.ring.fill(NaN);
    this.pieces = [];
    this.marks = [];
    this.end = this.drawn = 0;
    if (wave) this.add(wave);
    for (const beat of beats) this.mark(beat);
    this.head = Math.max(0, this.end - LAG_S * RATE_HZ);
    this.redraw();
  }

  add(wave) {
    this.waveMs = performance.now();
    const piece = this.pieces.at(-1);
    const hole = piece ? wave.at_s - piece.atS - (this.end - piece.slot) / RATE_HZ : Infinity;
    if (Math.abs(hole) > 0.02) {
      if (hole > 0 && hole < BRIDGED_S) {
        this.write(new Array(Math.round(hole * RATE_HZ)).fill(null), 1);
      } else {
        this.pieces.push({ slot: this.end, atS: wave.at_s });
        this.pieces = this.pieces.slice(-50);
      }
    }
    this.write(wave.counts, wave.counts_per_mv);
  }

  mark(beat) {
    const piece = this.pieces.findLast((each) => each.atS <= beat.at_s + 0.01);
    if (!piece) return;
    const mark = { slot: piece.slot + Math.round((beat.at_s - piece.atS) * RATE_HZ), beat: beat.beat, drawn: false };
    if (mark.slot < this.end) this.marks.push(mark);
    if (this.marks.length > 600) this.marks.splice(0, 200);
  }

  frame(nowMs) {
    const passedS = (nowMs - this.frameMs) / 1000;
    if (this.still.matches && passedS < 1) return; // a second at a time in place of motion
    this.frameMs = nowMs;
    if (!this.context) return;
    if (nowMs - this.waveMs > STARVED_MS && passedS < 3) {
      this.write(new Array(Math.round(passedS * RATE_HZ)).fill(null), 1); // what stands still would look alive
    }
    const behindS = (this.end - this.head) / RATE_HZ;
    if (behindS > 3 + passedS) { // the tab was in the background
      this.head = this.end - LAG_S * RATE_HZ;
      this.redraw();
      return;
    }
    const pace = 1 + Math.min(0.5, Math.max(-0.5, 0.5 * (behindS - LAG_S)));
    this.head = Math.min(this.end, this.head + passedS * pace * RATE_HZ);
    this.draw(Math.floor(this.head));
  }

  write(counts, perMv) {
    for (const count of counts) this.ring[this.end++ % KEPT] = count === null ? NaN : count / perMv;
  }

  place(slot) {
    const at = slot % this.screenSlots;
    const row = Math.floor(at / this.rowSlots);
    return { row, x: this.left + (at - row * this.rowSlots) * this.pxPerSlot };
  }

  redraw() {
    if (!this.context) return;
    this.context.clearRect(0, 0, this.trace.clientWidth, this.trace.clientHeight);
    for (const mark of this.marks) mark.drawn = false;
    const head = Math.floor(this.head);
    this.drawn = Math.max(0, head - this.screenSlots + this.eraseSlots);
    this.draw(head, false);
  }

  draw(head, erasing = true) {
    const context = this.context;
    if (erasing) this.erase(this.drawn, head + this.eraseSlots);
    context.strokeStyle = this.colours.trace;
    context.lineWidth = 1.7;
    context.beginPath();
    let row = -1;
    for (let slot = Math.max(0, this.drawn - 1); slot < head; slot++) {
      const mv = this.ring[slot % KEPT];
      const at = this.place(slot);
      if (Number.isNaN(mv)) { row = -1; continue; }
      const top = at.row * this.rowMm * this.pxPerMm;
      const y = Math.min(top + this.rowMm * this.pxPerMm - 1, Math.max(top + 1, this.baseline(at.row) - mv * this.pxPerMv));
      if (at.row === row && at.x > this.left) context.lineTo(at.x, y);
      else context.moveTo(at.x, y);
      row = at.row;
    }
    context.stroke();
    this.drawn = Math.max(this.drawn, head);
    const oldest = head - this.screenSlots + this.eraseSlots;
    const clear = head - Math.ceil(LETTER_PX / this.pxPerSlot); // what is written closer is erased again
    for (const mark of this.marks) {
      if (!mark.drawn && mark.slot < clear) {
        mark.drawn = true;
        if (mark.slot > oldest) this.write_mark(mark);
      }
    }
  }

  erase(from, to) {
    for (let slot = from; slot < to;) {
      const { row, x } = this.place(slot);
      const left = this.rowSlots - (slot % this.screenSlots - row * this.rowSlots);
      const slots = Math.max(1, Math.min(left, to - slot));
      const last = slots === left ? this.trace.clientWidth - x : slots * this.pxPerSlot;
      const top = row * this.rowMm * this.pxPerMm;
      const from = x > this.left ? x + 1 : 0; // a row's first letters reach into the margin
      this.context.clearRect(from, top, x + 1 + last - from, this.rowMm * this.pxPerMm);
      slot += slots;
    }
  }

  write_mark({ slot, beat }) {
    const { row, x } = this.place(slot);
    const y = (row * this.rowMm + MARKS_MM) * this.pxPerMm;
    const plain = beat === "N";
    this.context.fillStyle = this.colours.beats[beat];
    this.context.font = `${plain ? "500 11px" : "800 15px"} ${this.colours.font}`;
    this.context.fillText(beat, x, y - 3);
    this.context.fillRect(x - 0.75, y, 1.5, plain ? 4 : 8);
  }
}
