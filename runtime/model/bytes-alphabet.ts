/** The byte-level alphabet of GPT-2: each byte as one printable character, so that text is JSON-safe. */

/** Character of each byte, index = byte. Printable Latin-1 stands for itself, the rest from U+0100 on. */
export const CHARACTER_OF_BYTE: readonly string[] = makeAlphabet();

/** Byte of each character of the alphabet. */
export const BYTE_OF_CHARACTER: ReadonlyMap<string, number> = new Map(
  CHARACTER_OF_BYTE.map((character, byte) => [character, byte]),
);

function makeAlphabet(): string[] {
  const isPrintable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(isPrintable(byte) ? byte : next++),
  );
}
