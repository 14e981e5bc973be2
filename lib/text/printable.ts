const escaped = (character: string) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;

/**
 * Text as one line of a terminal: names from files may hold control characters (C0, C1, DEL), which a terminal would obey; they are written
 * as \n, \t and \xNN.
 */
export function printable(text: string): string {
  return printableLines(text).replaceAll('\n', '\\n').replaceAll('\t', '\\t');
}

/** As `printable`, with line breaks and tabs left as they are. */
export function printableLines(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, escaped);
}

/** JSON in which C1 and DEL are escaped, too: JSON itself leaves them. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value).replace(/[\x7f-\x9f]/g, (character) => `\\u00${character.charCodeAt(0).toString(16)}`);
}
