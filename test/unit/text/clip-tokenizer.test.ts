import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';
import { packageRoot } from '../../../lib/package.js';
import { cleanCaption } from '../../../lib/text/clean-caption.js';
import { type ClipTokenizer, openClipTokenizer } from '../../../lib/text/clip-tokenizer.js';
import { failure, goldenJson, inFolder, write } from '../data/images/support.js';

interface Golden {
  /** What a tokenizer.json of transformers says around the vocabulary. */
  tokenizer: { added_tokens: { id: number; content: string }[]; model: object; pre_tokenizer: { pretokenizers: object[] } };
  /** `hf`: transformers' ids where they are not open_clip's. */
  cases: { text: string; ids: number[]; hf?: number[] }[];
}

const demo = join(packageRoot(), 'configs/demo/clip');

/** The demo's vocabulary, a small one of the same kind, and a tokenizer.json of it as transformers writes one. */
async function demoVocabulary({ tokenizer }: Golden) {
  const merges = (await readFile(join(demo, 'merges.txt'), 'utf8')).split('\n').slice(1).filter(Boolean);
  const vocab = JSON.parse(await readFile(join(demo, 'vocab.json'), 'utf8')) as Record<string, number>;
  const added_tokens = [591, 592].map((id, i) => ({ ...tokenizer.added_tokens[i]!, id }));
  return { vocab, merges, whole: { ...tokenizer, added_tokens, model: { ...tokenizer.model, vocab, merges } } };
}

describe("CLIP's tokenizer", () => {
  let tokenizer: ClipTokenizer;
  let golden: Golden;
  before(async () => {
    tokenizer = await openClipTokenizer(undefined, 49408);
    golden = await goldenJson<Golden>('text', 'clip-ids.json');
  });

  it('gives the ids that open_clip gives', () => {
    expect(golden.cases).to.have.length.above(300);
    for (const { text, ids } of golden.cases) expect(tokenizer.encode(text, 77), JSON.stringify(text)).to.deep.equal(ids);
  });

  it('gives the ids that transformers gives, where there is nothing to mend', () => {
    // Entities, quotes, ligatures, widths, controls; and the capitals that Rust writes small in another way than Unicode's tables.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it begins what is mended, too
    const mended = /[&\u02bc\u2018-\u201f\u0132-\u01f3\ufb00-\uffff\u001b\u03a3\u0130]/;
    const same = golden.cases.filter(({ text }) => !mended.test(text));
    expect(same).to.have.length.above(270);
    for (const { text, ids, hf } of same) expect(hf ?? ids, JSON.stringify(text)).to.deep.equal(tokenizer.encode(text, 77));
  });

  it('cuts a long text, and keeps its end', () => {
    for (const context of [1, 2, 3, 10]) {
      const ids = tokenizer.encode('one two three four five six seven eight nine ten', context);
      expect(ids).to.have.length(context);
      expect(ids.at(-1)).to.equal(tokenizer.end);
      if (context > 1) expect(ids[0]).to.equal(tokenizer.start);
    }
    expect(tokenizer.encode('a b', 4)).to.deep.equal([49406, 320, 321, 49407]);
    expect(tokenizer.encode('', 77)).to.deep.equal([49406, 49407]);
  });

  it('reads the vocabulary of a folder, as vocab.json and merges.txt or as tokenizer.json', async () => {
    const ours = await openClipTokenizer(demo, 593);
    expect([ours.start, ours.end, ours.vocabulary]).to.deep.equal([591, 592, 593]);
    const { merges, whole } = await demoVocabulary(golden);
    const pairs = merges.map((merge) => merge.split(' '));
    for (const listed of [merges, pairs])
      await inFolder(async (folder) => {
        await write(folder, { 'tokenizer.json': JSON.stringify({ ...whole, model: { ...whole.model, merges: listed } }) });
        const theirs = await openClipTokenizer(folder, 593);
        for (const { text } of golden.cases) expect(theirs.encode(text, 77), text).to.deep.equal(ours.encode(text, 77));
      });
  });

  it("refuses a folder's tokenizer that is damaged, another kind's, or another model's", async () => {
    const refusal = async (files: Record<string, string>, vocabulary = 593): Promise<string> =>
      inFolder(async (folder) => {
        await write(folder, files);
        const { code, message } = await failure(openClipTokenizer(folder, vocabulary));
        return `${code}: ${message.replaceAll(folder, '.')}`;
      });
    const { vocab, whole } = await demoVocabulary(golden);
    const json = (change: object) => ({ 'tokenizer.json': JSON.stringify({ ...whole, ...change }) });
    expect(await refusal({ 'tokenizer.json': '{' })).to.match(/^bad_tokenizer: expected JSON/);
    expect(await refusal(json({ normalizer: null }))).to.match(/^bad_tokenizer: .*normalizer/);
    expect(await refusal(json({ normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }] } }))).to.match(/no Lowercase/);
    expect(await refusal(json({ pre_tokenizer: { type: 'Whitespace' } }))).to.match(/^bad_tokenizer: .*pre_tokenizer/);
    const split = { type: 'Split', pattern: { Regex: '(a+)+b' }, behavior: 'Removed', invert: true };
    const cut = { type: 'Sequence', pretokenizers: [split, whole.pre_tokenizer.pretokenizers[1]] };
    expect(await refusal(json({ pre_tokenizer: cut }))).to.match(/^bad_tokenizer: .*Regex/);
    expect(await refusal(json({ model: { ...whole.model, end_of_word_suffix: '' } }))).to.match(/^bad_tokenizer: .*end_of_word_suffix/);
    expect(await refusal(json({}), 500)).to.match(/^bad_tokenizer: expected at most the model's 500 tokens in .*, found 593/);
    expect(await refusal({ 'vocab.json': JSON.stringify(vocab) })).to.match(/^bad_tokenizer: expected merges\.txt beside/);
    expect(await refusal({ 'vocab.json': '{"a": 0}', 'merges.txt': '' })).to.match(/^bad_tokenizer: expected <\|startoftext\|> and/);
    expect(await refusal({ 'vocab.json': '{"a": "b"}', 'merges.txt': '' })).to.match(/^bad_tokenizer: expected CLIP's tokenizer/);
    expect(await refusal({})).to.equal(
      'tokenizer_not_found: expected tokenizer.json, or vocab.json and merges.txt, in ., found neither: the model has 593 tokens, and ' +
        "CLIP's own tokenizer 49408",
    );
  });
});

describe('the cleaning of a caption', () => {
  const cases: [string, string, string][] = [
    ['capitals and spaces', '  A  Photo\tof\r\na CAT\u00a0 ', 'a photo of a cat'],
    ['entities that were escaped twice', 'a &amp;amp; b &lt;c&gt; &#39;d&#39; &eacute;', "a & b <c> 'd' é"],
    ['entities that were escaped twice, beside tags', '<b>a &amp;amp; b</b>', '<b>a & b</b>'],
    ['entities without their semicolon', 'r &amp d &copy 2024', 'r & d © 2024'],
    ['entities of quotes', '&ldquo;x&rdquo;', '"x"'],
    ['curly quotes', '“it’s” ‘x’', "\"it's\" 'x'"],
    ['ligatures', 'ﬁsh oﬃce ĳ ŉ', "fish office ij 'n"],
    ['full and half width', 'ＦＵＬＬ　１２３ ﾊﾝ', 'full 123 ハン'],
    ['composed letters', 'cafe\u0301', 'café'],
    ['control characters', 'a\x00b\x07c\ufeffd\ufffce\x7f', 'abcde'],
    ['line breaks of every kind', 'a\u2028b\u2029c\x85d', 'a b c d'],
    ['terminal escapes', '\x1b[1;31mred\x1b[0m', 'red'],
    ['half a surrogate pair', 'a\ud800b \ud83d\udc31', 'a\ufffdb 🐱'],
  ];
  for (const [what, before, after] of cases)
    it(`mends ${what}`, () => {
      expect(cleanCaption(before)).to.equal(after);
    });
});
