/** Counts what passes, and says how much of it a second since it was last asked. */
export class Meter<Name extends string> {
  private counts: Partial<Record<Name, number>> = {};
  private since = performance.now();

  add(name: Name, count: number): void {
    this.counts[name] = (this.counts[name] ?? 0) + count;
  }

  /** A second; begins anew. */
  read(): (name: Name) => number {
    const { counts, since } = this;
    const now = performance.now();
    this.counts = {};
    this.since = now;
    return (name) => ((counts[name] ?? 0) * 1000) / (now - since);
  }
}
