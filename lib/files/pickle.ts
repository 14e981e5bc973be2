import { KueaError, named } from '../errors.js';

/** A class or function that a pickle names. It is never looked up, only compared with the list of what may be named. */
export class PickleGlobal {
  constructor(
    readonly module: string,
    readonly name: string,
  ) {}

  get path(): string {
    return `${this.module}.${this.name}`;
  }
}

/** An instance of a named class: what it was made from, and the state that BUILD gave it. */
export class PickleObject {
  state: unknown;
  constructor(
    readonly type: PickleGlobal,
    readonly args: unknown[],
  ) {}
}

/** What a reader of pickles decides: which globals may be named, what a call of one yields, what a persistent id stands for. */
export interface PickleRules {
  allows(global: PickleGlobal): boolean;
  /** A call (REDUCE) of an allowed global. */
  call(global: PickleGlobal, args: unknown[]): unknown;
  persistent(id: unknown): unknown;
}

const mark = Symbol('mark');

/** Opcodes of a pickle, and items of what it builds from others, at most: some 60 a tensor, and no model has 100,000 tensors. */
const mostSteps = 1 << 23;
/** Dicts, lists, tuples and objects of a pickle at most: a bound on memory. */
const mostContainers = 1 << 21;
/** Of a call that is looked at: no function that weights name has more. */
const mostArguments = 8;

/**
 * A pickle machine for what torch.save writes (protocols 2 to 4): data is built, nothing runs. Dicts become Maps, lists and tuples arrays.
 * Throws KueaError `forbidden_pickle` for a global that is not allowed, `bad_pickle` for anything malformed or of another kind.
 */
export class Unpickler {
  private position: number;
  private stack: unknown[] = [];
  private readonly memo = new Map<number, unknown>();
  private steps = 0;
  private containers = 0;

  constructor(
    private readonly bytes: Buffer,
    private readonly rules: PickleRules,
    private readonly file: string,
    start = 0,
  ) {
    this.position = start;
  }

  /** Byte after the last one read. */
  get end(): number {
    return this.position;
  }

  private fail(why: string): never {
    throw new KueaError('bad_pickle', `${this.file} is not a sound PyTorch file: ${why}; fetch it again, or convert it to safetensors`);
  }

  private take(count: number): Buffer {
    if (count < 0 || this.position + count > this.bytes.length) this.fail('its pickle ends too early');
    this.position += count;
    return this.bytes.subarray(this.position - count, this.position);
  }

  private line(): string {
    const end = this.bytes.indexOf(0x0a, this.position);
    if (end < 0) this.fail('its pickle ends too early');
    const text = this.bytes.toString('utf8', this.position, end);
    this.position = end + 1;
    return text;
  }

  private pop(): unknown {
    if (this.stack.length === 0) this.fail('its pickle takes from an empty stack');
    return this.value(this.stack.pop());
  }

  private top(): unknown {
    if (this.stack.length === 0) this.fail('its pickle reads an empty stack');
    return this.value(this.stack[this.stack.length - 1]);
  }

  private value(item: unknown): unknown {
    if (item === mark) this.fail('its pickle takes a mark for a value');
    return item;
  }

  private popToMark(): unknown[] {
    const at = this.stack.lastIndexOf(mark);
    if (at < 0) this.fail('its pickle has no mark where one is needed');
    const items = this.stack.splice(at + 1);
    this.stack.pop();
    return items;
  }

  private spend(steps: number): void {
    this.steps += steps;
    if (this.steps > mostSteps) this.fail(`its pickle has more than ${mostSteps} steps, and no state dict needs that many`);
  }

  /** Pushes a dict, list, tuple or object that is new. */
  private push(made: unknown): void {
    if (++this.containers > mostContainers)
      this.fail(`its pickle makes more than ${mostContainers} objects, and no state dict needs that many`);
    this.stack.push(made);
  }

  private popTuple(): unknown[] {
    const args = this.pop();
    if (!Array.isArray(args)) this.fail('its pickle calls with something that is no tuple');
    return args;
  }

  private popGlobal(): PickleGlobal {
    const global = this.pop();
    if (!(global instanceof PickleGlobal)) this.fail('its pickle calls something that has no name');
    return global;
  }

  private pushGlobal(module: unknown, name: unknown): void {
    if (typeof module !== 'string' || typeof name !== 'string') this.fail('its pickle names a class with something that is no text');
    const global = new PickleGlobal(module, name);
    if (!this.rules.allows(global)) {
      throw new KueaError(
        'forbidden_pickle',
        `${this.file} names ${named(global.path)}, which weights have no need of: it was not loaded, and none of it was run; get ` +
          `the model as safetensors`,
      );
    }
    this.push(global);
  }

  private setItems(items: unknown[]): void {
    const target = this.top();
    const map = target instanceof Map ? target : target instanceof PickleObject && target.state instanceof Map ? target.state : undefined;
    if (!map || items.length % 2 !== 0) this.fail('its pickle sets items of something that is no dict');
    for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
    this.containers += items.length >> 1;
  }

  private long(count: number): number | bigint {
    const bytes = this.take(count);
    if (count === 0) return 0;
    const value = BigInt.asIntN(8 * count, BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`));
    const small = Number(value);
    return Number.isSafeInteger(small) ? small : value;
  }

  /** Runs to STOP and returns what it left. */
  load(): unknown {
    for (;;) {
      const opcode = this.take(1)[0]!;
      if (opcode === 0x2e) return this.pop();
      this.spend(1);
      this.execute(opcode);
    }
  }

  private execute(opcode: number): void {
    const { stack } = this;
    switch (opcode) {
      case 0x80: {
        // PROTO
        const protocol = this.take(1)[0]!;
        if (protocol > 5) this.fail(`its pickle has protocol ${protocol}`);
        return;
      }
      case 0x95:
        this.take(8);
        return; // FRAME
      case 0x28:
        stack.push(mark);
        return; // MARK
      case 0x30:
        // A mark, too, may be thrown away.
        if (stack.length === 0) this.fail('its pickle takes from an empty stack');
        stack.pop();
        return; // POP
      case 0x4e:
        stack.push(null);
        return; // NONE
      case 0x88:
        stack.push(true);
        return; // NEWTRUE
      case 0x89:
        stack.push(false);
        return; // NEWFALSE
      case 0x4a:
        stack.push(this.take(4).readInt32LE());
        return; // BININT
      case 0x4b:
        stack.push(this.take(1)[0]);
        return; // BININT1
      case 0x4d:
        stack.push(this.take(2).readUInt16LE());
        return; // BININT2
      case 0x8a:
        stack.push(this.long(this.take(1)[0]!));
        return; // LONG1
      case 0x47:
        stack.push(this.take(8).readDoubleBE());
        return; // BINFLOAT
      case 0x58:
        stack.push(this.take(this.take(4).readUInt32LE()).toString('utf8'));
        return; // BINUNICODE
      case 0x8c:
        stack.push(this.take(this.take(1)[0]!).toString('utf8'));
        return; // SHORT_BINUNICODE
      case 0x54:
        stack.push(this.take(this.take(4).readInt32LE()).toString('latin1'));
        return; // BINSTRING
      case 0x55:
        stack.push(this.take(this.take(1)[0]!).toString('latin1'));
        return; // SHORT_BINSTRING
      case 0x42:
        this.push(this.take(this.take(4).readUInt32LE()));
        return; // BINBYTES
      case 0x43:
        this.push(this.take(this.take(1)[0]!));
        return; // SHORT_BINBYTES
      case 0x7d:
        this.push(new Map());
        return; // EMPTY_DICT
      case 0x5d:
        this.push([]);
        return; // EMPTY_LIST
      case 0x29:
        this.push([]);
        return; // EMPTY_TUPLE
      case 0x74:
        this.push(this.popToMark());
        return; // TUPLE
      case 0x85:
        this.push([this.pop()]);
        return; // TUPLE1
      case 0x86: {
        const b = this.pop(),
          a = this.pop();
        this.push([a, b]);
        return;
      } // TUPLE2
      case 0x87: {
        const c = this.pop(),
          b = this.pop(),
          a = this.pop();
        this.push([a, b, c]);
        return;
      } // TUPLE3
      case 0x61: {
        const item = this.pop();
        this.append([item]);
        return;
      } // APPEND
      case 0x65:
        this.append(this.popToMark());
        return; // APPENDS
      case 0x73: {
        const value = this.pop(),
          key = this.pop();
        this.setItems([key, value]);
        return;
      } // SETITEM
      case 0x75:
        this.setItems(this.popToMark());
        return; // SETITEMS
      case 0x71:
        this.memo.set(this.take(1)[0]!, this.top());
        return; // BINPUT
      case 0x72:
        this.memo.set(this.take(4).readUInt32LE(), this.top());
        return; // LONG_BINPUT
      case 0x94:
        this.memo.set(this.memo.size, this.top());
        return; // MEMOIZE
      case 0x68:
        this.recall(this.take(1)[0]!);
        return; // BINGET
      case 0x6a:
        this.recall(this.take(4).readUInt32LE());
        return; // LONG_BINGET
      case 0x63: {
        const module = this.line();
        this.pushGlobal(module, this.line());
        return;
      } // GLOBAL
      case 0x93: {
        const name = this.pop(),
          module = this.pop();
        this.pushGlobal(module, name);
        return;
      } // STACK_GLOBAL
      case 0x51:
        this.push(this.rules.persistent(this.pop()));
        return; // BINPERSID
      case 0x52: {
        const args = this.popTuple(),
          global = this.popGlobal();
        // Calls may look at each item of a list that many of them are given.
        for (const arg of args.slice(0, mostArguments)) this.spend(Array.isArray(arg) ? arg.length : 0);
        this.push(this.rules.call(global, args));
        return;
      } // REDUCE
      case 0x81: {
        const args = this.popTuple(),
          global = this.popGlobal();
        this.push(new PickleObject(global, args));
        return;
      } // NEWOBJ
      case 0x62: {
        // BUILD
        const state = this.pop();
        const target = this.top();
        // An OrderedDict's attributes (a state dict's _metadata) are no weights.
        if (target instanceof PickleObject) target.state = state;
        return;
      }
      default:
        this.fail(`its pickle has the opcode 0x${opcode.toString(16)}, which weights have no need of`);
    }
  }

  private append(items: unknown[]): void {
    const target = this.top();
    if (!Array.isArray(target)) this.fail('its pickle appends to something that is no list');
    for (const item of items) target.push(item);
  }

  private recall(index: number): void {
    if (!this.memo.has(index)) this.fail('its pickle recalls what it never stored');
    this.stack.push(this.memo.get(index));
  }
}
