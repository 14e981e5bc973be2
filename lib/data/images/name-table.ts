/**
 * Many short names in one piece of memory, so that a listing of millions neither fills the heap nor slows the garbage collector. Names are
 * bytes spelt as latin1 strings: a file name that is not UTF-8 survives, and comparing strings compares bytes, which is the order of
 * Unicode code points.
 */
export class NameTable {
  private bytes = Buffer.alloc(1 << 12);
  private ends = new Float64Array(1 << 8);
  length = 0;

  push(latin1: string): void {
    const start = this.end(this.length - 1);
    if (start + latin1.length > this.bytes.length) {
      const grown = Buffer.alloc(Math.max(2 * this.bytes.length, start + latin1.length));
      this.bytes.copy(grown);
      this.bytes = grown;
    }
    if (this.length === this.ends.length) {
      const grown = new Float64Array(2 * this.length);
      grown.set(this.ends);
      this.ends = grown;
    }
    this.bytes.write(latin1, start, 'latin1');
    this.ends[this.length++] = start + latin1.length;
  }

  /** The bytes of name i; a view. */
  at(i: number): Buffer {
    return this.bytes.subarray(this.end(i - 1), this.end(i));
  }

  private end(i: number): number {
    return i < 0 ? 0 : this.ends[i]!;
  }
}
