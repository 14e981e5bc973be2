"""sentencepiece_bpe.py OUT: a small SentencePiece model with LLaMA's settings, trained on made-up text, and ids of texts that SentencePiece
itself gives."""

import io, json, random, sys

import sentencepiece


def main(out):
    rng = random.Random(0)
    syllables = ["ka", "lo", "mi", "sur", "te", "nan", "ri", "vo", "pel", "qua", "st", "ing", "é", "ü", "ñ"]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(150)]
    marks = [". ", ", ", ": ", "\n", " ", " ", " ", " ", "  ", "    ", "-", "'s "]

    def text(length):
        return "".join(rng.choice(words) + rng.choice(marks) if rng.random() < 0.9 else str(rng.randint(0, 999)) for _ in range(length))

    model = io.BytesIO()
    # The settings of LLaMA's tokenizer.model.
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text(12) for _ in range(400)]),
        model_writer=model,
        model_type="bpe",
        vocab_size=520,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    with open(f"{out}/tokenizer.model", "wb") as f:
        f.write(model.getvalue())

    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    odd = [
        "",
        " ",
        "   ",
        "\n",
        "a",
        " a",
        "▁",
        "▁▁ x",
        "镇🦙Ꙋ",
        "\t\u00a0\u200b",
        "e\u0301",
        "0123456789",
        "kakakakakaka",
        "<0x41>",
        "ﬁ",
        "  \n  ",
        "\u0000",
    ]
    for _ in range(150):
        odd.append(
            "".join(
                rng.choice([rng.choice(words), " ", "  ", "\n", rng.choice("abcé镇🦙aaa  0123<>=/")]) for _ in range(rng.randint(1, 25))
            )
        )
    with open(f"{out}/ids.json", "w") as f:
        f.write(
            json.dumps(
                dict(
                    version=sentencepiece.__version__,
                    cases=[dict(text=t, ids=processor.encode(t), decoded=processor.decode(processor.encode(t))) for t in odd],
                ),
                ensure_ascii=True,
                indent=0,
            )
            + "\n"
        )


main(sys.argv[1])
