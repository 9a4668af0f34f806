/** Amounts for people: wei of OPEN to a short decimal and back. */
const ONE_OPEN = 10n ** 18n;

/** `1500000000000000000n` → `1.5`; at most nine decimals, never rounded up. */
export function formatOpen(wei: bigint): string {
  const sign = wei < 0n ? '-' : '';
  const size = wei < 0n ? -wei : wei;
  const whole = size / ONE_OPEN;
  const fraction = (size % ONE_OPEN).toString().padStart(18, '0').slice(0, 9).replace(/0+$/, '');
  if (fraction === '' && whole === 0n && size > 0n) return `${sign}${size} wei`;
  return `${sign}${whole}${fraction === '' ? '' : `.${fraction}`}`;
}

/** `1.5` → wei; null when it is no such number. */
export function parseOpen(text: string): bigint | null {
  const match = /^(\d{1,30})(?:\.(\d{1,18}))?$/.exec(text.trim());
  if (match === null) return null;
  return BigInt(match[1] ?? '0') * ONE_OPEN + BigInt((match[2] ?? '').padEnd(18, '0'));
}
