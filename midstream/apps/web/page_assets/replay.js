// A recording: its frames from the server, and the state at any place of it.

import { apply } from "./state.js";

const KEY_EVERY = 128; // frames from one kept state to the next

export class Replay {
  constructor(told, frames) {
    this.told = told;
    this.frames = frames; // the first is a snapshot
    this.kept = new Map(); // states by number of frames applied
    this.position = 0; // frames applied behind the snapshot
    this.time = 0;
    this.state = { ...frames[0], live: false };
    this.kept.set(0, this.state);
    this.playing = false;
    this.speed = 1;
  }

  static async load(name, signal) {
    const answer = await fetch(`/api/recordings/${encodeURIComponent(name)}`, { cache: "no-store", signal });
    if (!answer.ok) {
      const told = await answer.json().catch(() => ({}));
      throw new Error(told.error || `the server answers ${answer.status}`);
    }
    const lines = (await answer.text()).split("\n").filter(Boolean).map((line) => JSON.parse(line));
    return new Replay(lines[0], lines.slice(1));
  }

  get length() {
    return this.frames.length - 1;
  }

  /** Go to where so many frames are applied. */
  seek(position) {
    const to = Math.max(0, Math.min(this.length, position));
    let at = this.position;
    let state = this.state;
    if (to < at || to - at > KEY_EVERY) {
      for (let key = to - (to % KEY_EVERY); ; key -= KEY_EVERY) {
        if (this.kept.has(key) && !(key < at && at <= to)) {
          at = key;
          state = this.kept.get(key);
          break;
        }
        if (key < at && at <= to) break; // from here is nearer
      }
    }
    while (at < to) {
      at += 1;
      state = apply(state, this.frames[at]);
      if (at % KEY_EVERY === 0 && !this.kept.has(at)) this.kept.set(at, state);
    }
    this.position = to;
    this.state = state;
    this.time = to ? this.frames[to].t_s : 0;
  }

  /** Go behind the last frame of the first `t` seconds. */
  seekTime(t) {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.frames[middle].t_s <= t) low = middle;
      else high = middle - 1;
    }
    this.seek(low);
    this.time = Math.max(0, Math.min(this.told.duration_s, t));
  }

  step(by) {
    this.seek(this.position + by);
  }

  /** Go to the next finding, or the one before; whether there is one. */
  finding(by) {
    const places = this.told.marks.map((mark) => this.frames.findIndex((frame) => frame.at >= mark.at));
    const there = by > 0
      ? places.find((place) => place > this.position)
      : places.findLast((place) => place < this.position);
    if (there === undefined) return false;
    this.seek(there);
    return true;
  }

  /** Let so many seconds pass. */
  pass(elapsed) {
    const time = this.time + elapsed * this.speed;
    this.seekTime(time);
    if (time >= this.told.duration_s) {
      this.seek(this.length);
      this.playing = false;
    }
  }
}
