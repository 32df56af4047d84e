/**
 * SHA-512 (FIPS 180-4) of short text. Chain names need one hash a call, and loading a crypto library for it takes
 * longer than all of the rest of a plugin. Each 64-bit word is a high and a low half.
 */

/**
 * The first 64 bits of the fractions of the cube roots of the first 80 primes, and of the square roots of the first 8. They
 * are written down, as working them out takes longer than the hash.
 */
const CUBE_ROOTS =
  "428a2f98d728ae227137449123ef65cdb5c0fbcfec4d3b2fe9b5dba58189dbbc3956c25bf348b53859f111f1b605d019" +
  "923f82a4af194f9bab1c5ed5da6d8118d807aa98a303024212835b0145706fbe243185be4ee4b28c550c7dc3d5ffb4e2" +
  "72be5d74f27b896f80deb1fe3b1696b19bdc06a725c71235c19bf174cf692694e49b69c19ef14ad2efbe4786384f25e3" +
  "0fc19dc68b8cd5b5240ca1cc77ac9c652de92c6f592b02754a7484aa6ea6e4835cb0a9dcbd41fbd476f988da831153b5" +
  "983e5152ee66dfaba831c66d2db43210b00327c898fb213fbf597fc7beef0ee4c6e00bf33da88fc2d5a79147930aa725" +
  "06ca6351e003826f142929670a0e6e7027b70a8546d22ffc2e1b21385c26c9264d2c6dfc5ac42aed53380d139d95b3df" +
  "650a73548baf63de766a0abb3c77b2a881c2c92e47edaee692722c851482353ba2bfe8a14cf10364a81a664bbc423001" +
  "c24b8b70d0f89791c76c51a30654be30d192e819d6ef5218d69906245565a910f40e35855771202a106aa07032bbd1b8" +
  "19a4c116b8d2d0c81e376c085141ab532748774cdf8eeb9934b0bcb5e19b48a8391c0cb3c5c95a634ed8aa4ae3418acb" +
  "5b9cca4f7763e373682e6ff3d6b2b8a3748f82ee5defb2fc78a5636f43172f6084c87814a1f0ab728cc702081a6439ec" +
  "90befffa23631e28a4506cebde82bde9bef9a3f7b2c67915c67178f2e372532bca273eceea26619cd186b8c721c0c207" +
  "eada7dd6cde0eb1ef57d4f7fee6ed17806f067aa72176fba0a637dc5a2c898a6113f9804bef90dae1b710b35131c471b" +
  "28db77f523047d8432caab7b40c724933c9ebe0a15c9bebc431d67c49c100d4c4cc5d4becb3e42b6597f299cfc657e2a" +
  "5fcb6fab3ad6faec6c44198c4a475817";
const SQUARE_ROOTS =
  "6a09e667f3bcc908bb67ae8584caa73b3c6ef372fe94f82ba54ff53a5f1d36f1510e527fade682d19b05688c2b3e6c1f" +
  "1f83d9abfb41bd6b5be0cd19137e2179";

/** Pairs of halves, the high one first. */
function halvesOf(hex: string): Int32Array {
  return Int32Array.from({ length: hex.length / 8 }, (_, i) => Number.parseInt(hex.slice(8 * i, 8 * i + 8), 16) | 0);
}

const BLOCK = 128;

function padded(message: Uint8Array): DataView {
  const length = Math.ceil((message.length + 17) / BLOCK) * BLOCK;
  const octets = new Uint8Array(length);
  octets.set(message);
  octets[message.length] = 0x80;
  const view = new DataView(octets.buffer);
  view.setUint32(length - 8, Math.floor(message.length / 0x2000_0000));
  view.setUint32(length - 4, message.length << 3);
  return view;
}

class Word {
  hi = 0;
  lo = 0;
  set(hi: number, lo: number): this {
    this.hi = hi | 0;
    this.lo = lo | 0;
    return this;
  }
  add(hi: number, lo: number): this {
    const low = (this.lo >>> 0) + (lo >>> 0);
    this.hi = (this.hi + hi + (low > 0xffff_ffff ? 1 : 0)) | 0;
    this.lo = low | 0;
    return this;
  }
}

/** Rotated right by n bits: the high half; the low half is the same with the halves swapped. */
function rotr(hi: number, lo: number, n: number): number {
  return n < 32 ? (hi >>> n) | (lo << (32 - n)) : n === 32 ? lo : (lo >>> (n - 32)) | (hi << (64 - n));
}

/** Shifted right by n < 32 bits: the low half. */
function shrLow(hi: number, lo: number, n: number): number {
  return (lo >>> n) | (hi << (32 - n));
}

type Hasher = new (name: string) => { update(text: string): { digest(encoding: "hex"): string } };
/** In the compiled executable there is one that costs nothing to load. */
const Native = (globalThis as { readonly Bun?: { readonly CryptoHasher: Hasher } }).Bun?.CryptoHasher;

export function sha512Hex(text: string): string {
  return Native === undefined ? portableSha512Hex(text) : new Native("sha512").update(text).digest("hex");
}

export function portableSha512Hex(text: string): string {
  const constants = halvesOf(CUBE_ROOTS);
  const state = [...halvesOf(SQUARE_ROOTS)];
  const k = (i: number): number => constants[i] ?? 0;
  const view = padded(new TextEncoder().encode(text));
  const w = new Int32Array(160);
  const sum = new Word();
  for (let block = 0; block < view.byteLength; block += BLOCK) {
    for (let i = 0; i < 32; i++) w[i] = view.getInt32(block + 4 * i);
    for (let i = 32; i < 160; i += 2) {
      const [h15, l15, h2, l2] = [w[i - 30] ?? 0, w[i - 29] ?? 0, w[i - 4] ?? 0, w[i - 3] ?? 0];
      sum.set(w[i - 32] ?? 0, w[i - 31] ?? 0);
      sum.add(
        rotr(h15, l15, 1) ^ rotr(h15, l15, 8) ^ (h15 >>> 7),
        rotr(l15, h15, 1) ^ rotr(l15, h15, 8) ^ shrLow(h15, l15, 7),
      );
      sum.add(w[i - 14] ?? 0, w[i - 13] ?? 0);
      sum.add(
        rotr(h2, l2, 19) ^ rotr(h2, l2, 61) ^ (h2 >>> 6),
        rotr(l2, h2, 19) ^ rotr(l2, h2, 61) ^ shrLow(h2, l2, 6),
      );
      w[i] = sum.hi;
      w[i + 1] = sum.lo;
    }
    const v = [...state];
    const at = (i: number): number => v[i] ?? 0;
    for (let i = 0; i < 160; i += 2) {
      const [aH, aL, bH, bL, cH, cL] = [at(0), at(1), at(2), at(3), at(4), at(5)];
      const [eH, eL, fH, fL, gH, gL] = [at(8), at(9), at(10), at(11), at(12), at(13)];
      sum.set(at(14), at(15));
      sum.add(
        rotr(eH, eL, 14) ^ rotr(eH, eL, 18) ^ rotr(eH, eL, 41),
        rotr(eL, eH, 14) ^ rotr(eL, eH, 18) ^ rotr(eL, eH, 41),
      );
      sum.add((eH & fH) ^ (~eH & gH), (eL & fL) ^ (~eL & gL));
      sum.add(k(i), k(i + 1));
      sum.add(w[i] ?? 0, w[i + 1] ?? 0);
      const [t1H, t1L] = [sum.hi, sum.lo];
      const e = sum.set(at(6), at(7)).add(t1H, t1L);
      const [newEh, newEl] = [e.hi, e.lo];
      sum.set(t1H, t1L);
      sum.add(
        rotr(aH, aL, 28) ^ rotr(aH, aL, 34) ^ rotr(aH, aL, 39),
        rotr(aL, aH, 28) ^ rotr(aL, aH, 34) ^ rotr(aL, aH, 39),
      );
      sum.add((aH & bH) ^ (aH & cH) ^ (bH & cH), (aL & bL) ^ (aL & cL) ^ (bL & cL));
      v.copyWithin(2, 0, 14);
      v[0] = sum.hi;
      v[1] = sum.lo;
      v[8] = newEh;
      v[9] = newEl;
    }
    for (let i = 0; i < 16; i += 2) {
      sum.set(state[i] ?? 0, state[i + 1] ?? 0).add(at(i), at(i + 1));
      state[i] = sum.hi;
      state[i + 1] = sum.lo;
    }
  }
  return state.map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("");
}
