import { expect } from 'chai';

import { Output } from '../../../lib/cli/output.js';
import { Paper, Screen } from './support.js';

describe('the output', () => {
  // What a crafted file name may hold: clear the screen, a C1 introducer, a new line.
  const crafted = 'a\x1b[2Jb\x9b31mc\nkuea: d\x7f';

  it('escapes what a terminal would obey', () => {
    const [out, err] = [new Paper(), new Paper()];
    const output = new Output(out, err);
    output.line(crafted);
    output.note(crafted);
    expect(out.text).to.equal('a\\x1b[2Jb\\x9b31mc\\nkuea: d\\x7f\n');
    expect(err.text).to.equal(out.text);
    out.text = '';
    output.block('one\ntwo\tthree\x1b');
    expect(out.text).to.equal('one\ntwo\tthree\\x1b\n');
    out.text = '';
    output.json({ name: crafted });
    expect(out.text).to.equal('{"name":"a\\u001b[2Jb\\u009b31mc\\nkuea: d\\u007f"}\n');
    expect(JSON.parse(out.text)).to.deep.equal({ name: crafted });
  });

  it('keeps a line below all others on a terminal, and wipes what the terminal itself wrote there', () => {
    const screen = new Screen(80);
    const output = new Output(screen, screen);
    output.status('1/3');
    screen.write('^C');
    output.note('stopping');
    output.line('saved');
    expect(screen.lines).to.deep.equal(['stopping', 'saved', '1/3']);
    output.status('');
    expect(screen.lines).to.deep.equal(['stopping', 'saved', '']);
  });

  it('has no such line elsewhere', () => {
    const out = new Paper();
    new Output(out, out).status('1/3');
    expect(out.text).to.equal('');
  });

  it('writes nothing more to a stream that has gone', () => {
    const [out, err] = [new Paper(), new Paper()];
    const output = new Output(out, err);
    output.lost = 'EPIPE';
    output.line('lost');
    output.json({});
    output.note('told');
    expect([out.text, err.text]).to.deep.equal(['', 'told\n']);
  });
});
