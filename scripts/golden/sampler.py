"""Goldens of the shuffling order: an implementation of its own of xoshiro128** seeded by Murmur3's finaliser, and of Fisher-Yates with
rejection.

sampler.py OUT        writes OUT/permutations.json: [{n, seed, epoch, first: up to 12 places, sha256: of all as little-endian uint32}]
"""

import hashlib, json, os, struct, sys

M = 0xFFFFFFFF
GOLDEN_RATIO = 0x9E3779B9


def finalise(h):
    h = (h ^ h >> 16) * 0x85EBCA6B & M
    h = (h ^ h >> 13) * 0xC2B2AE35 & M
    return h ^ h >> 16


def rotl(x, k):
    return (x << k | x >> 32 - k) & M


class Xoshiro128StarStar:
    def __init__(self, seed, stream):
        h = 0
        for word in (seed & M, seed >> 32, stream):
            h = (finalise(h ^ word) + GOLDEN_RATIO) & M
        self.s = [finalise((h + i * GOLDEN_RATIO) & M) for i in (1, 2, 3, 4)]

    def next(self):
        s = self.s
        result = rotl(s[1] * 5 & M, 7) * 9 & M
        t = s[1] << 9 & M
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 11)
        return result


def permutation(n, seed, epoch):
    generator, order = Xoshiro128StarStar(seed, epoch), list(range(n))
    for i in range(n - 1, 0, -1):
        while (j := generator.next() & ((1 << i.bit_length()) - 1)) > i:
            pass
        order[i], order[j] = order[j], order[i]
    return order


def main(out):
    os.makedirs(out, exist_ok=True)
    rows = []
    for n, seed, epoch in [
        (1, 0, 0),
        (2, 0, 0),
        (10, 0, 0),
        (10, 0, 1),
        (10, 1, 0),
        (1000, 42, 3),
        (70000, 2**53 - 1, 0xFFFFFFFE),
        (4096, 123456789012, 0xFFFFFFFF),
    ]:
        order = permutation(n, seed, epoch)
        assert sorted(order) == list(range(n))
        rows.append(dict(n=n, seed=seed, epoch=epoch, first=order[:12], sha256=hashlib.sha256(struct.pack(f"<{n}I", *order)).hexdigest()))
    with open(f"{out}/permutations.json", "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


main(sys.argv[1])
