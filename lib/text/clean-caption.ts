import { decodeHTML, decodeHTMLStrict } from 'entities/decode';

/** What ftfy takes apart: ligatures of Latin letters, and the wide and narrow forms of ASCII, katakana and Hangul. */
const compatible = /[\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3\ufb00-\ufb04\ufb06\u3000\uff01-\uffee]/g;
const terminalEscapes = new RegExp(`${String.fromCharCode(27)}\\[[\\d;]*[a-zA-Z]`, 'g');
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
const controls = /[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]/g;
const loneSurrogates = /\p{Surrogate}/gu;

/** One round of ftfy's fix_text, without the guess at text that was decoded with the wrong encoding. */
function fixed(text: string): string {
  return (
    // Angle brackets: it is HTML itself, whose entities are left to the second step.
    (text.includes('<') ? text : decodeHTMLStrict(text))
      .replace(compatible, (character) => character.normalize('NFKC'))
      .replaceAll('\ufb05', '\u017ft')
      .replace(/[\u02bc\u2018-\u201b]/g, "'")
      .replace(/[\u201c-\u201f]/g, '"')
      .replace(/\r\n?|[\u2028\u2029\x85]/g, '\n')
      .replace(loneSurrogates, '\ufffd')
      .replace(terminalEscapes, '')
      .replace(controls, '')
      .normalize('NFC')
  );
}

/**
 * A text as CLIP's tokenizer cleans it before it cuts it: what ftfy mends (curly quotes, ligatures, full width, control characters, NFC),
 * HTML's entities, whitespace, capitals. Of ftfy's repairs the one of mojibake (`Ã©` for `é`) is not made.
 */
export function cleanCaption(caption: string): string {
  let text = caption;
  for (let before = ''; before !== text; ) {
    before = text;
    text = fixed(text);
  }
  // Twice, for what was escaped twice: as upstream does.
  return decodeHTML(decodeHTML(text)).replace(/\s+/g, ' ').trim().toLowerCase();
}
