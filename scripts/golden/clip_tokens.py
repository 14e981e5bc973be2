"""Goldens of CLIP's tokenizer: texts and their ids by open_clip's SimpleTokenizer, and by transformers' CLIPTokenizer where they differ.

  python scripts/golden/clip_tokens.py      (open_clip with ftfy, transformers; writes test/golden/text/clip-ids.json)

`hf` is there only where transformers' ids differ: it neither mends text as ftfy does nor reads HTML's entities. `tokenizer` is what a
tokenizer.json says around the vocabulary.
"""

import gzip
import json
import pathlib
import random

import ftfy
import open_clip
import open_clip.tokenizer
import transformers

out = pathlib.Path(__file__).parents[2] / "test/golden/text/clip-ids.json"
rng = random.Random(0)
WORDS = """a the red blue small large two three dog cat bus on under near left right of photo painting with rain, snow! city's beach 2024
skateboarding giraffe umbrella kitchen counter; "quoted" (aside) holding frisbee mid-air 3pm they're can't I'd we've you'll rock'n'roll
antidisestablishmentarianism Wi-Fi T-shirt x-ray 1,000.50 $5 50% #tag @name http://example.com/a?b=c&d=e a_b C++ foo/bar""".split()
CLASSES = """tench;school bus;red wine;crème brûlée;T-shirt;x-ray;1990s television;great white shark;snow-covered alp;Wi-Fi router;3D shape;
Appenzeller Sennenhund;Shih Tzu;Cassette player;cd player;CRT monitor;iPod;Band-Aid;jack-o'-lantern;carpenter's kit;pickup truck;
hen-of-the-woods mushroom;Petri dish;Polaroid camera;ATM;mosque;goose;Newfoundland dog;Welsh springer spaniel;SUV 2012;
Boeing 737-800;Eiffel Tower;McDonnell Douglas DC-9-30""".replace("\n", "").split(";")
TEMPLATES = """a photo of a {}.;a bad photo of a {};itap of a {}.;a {} in a video game.;a photo of the number: "{}".;
a centered satellite photo of {}.;a black and white photo of the {}.;art of {}, and nothing else!;{};THE {} texture"""
TEMPLATES = TEMPLATES.replace("\n", "").split(";")
PARTICULAR = [
    "",
    " ",
    "\n\t ",
    "a",
    "A",
    "!",
    "...",
    "?!?!",
    "--- === +++",
    "a  b\tc\nd\r\ne",
    "  leading and trailing  ",
    "don't won't I'll you've he'd we're it's I'm 's 't 're 've 'm 'll 'd",
    "DON'T SHOUT, IT'S RUDE",
    "''quoted'' 'single' \"double\"",
    "0 1 12 123 1234567890",
    "1990s 3D 4x4 7up B2B",
    "½ ² ³ ① Ⅷ ٣ १२",
    "naïve café façade jalapeño Zürich Łódź Ærøskøbing smørrebrød",
    "e\u0301 a\u030a decomposed and \u00e9 composed",
    "İstanbul ISTANBUL ıI ß ẞ ΣΊΣΥΦΟΣ",
    "Ὀδυσσεύς ΟΔΥΣΣΕΥΣ",
    "Привет, мир! Фотография кошки",
    "你好，世界。一张猫的照片",
    "日本語のテキスト カタカナ ひらがな",
    "한국어 텍스트 고양이 사진",
    "ภาษาไทย รูปแมว",
    "हिन्दी में एक तस्वीर",
    "صورة قطة",
    "תמונה של חתול",
    "🐱🐶",
    "a photo of 🍕 and 🍺!",
    "👨‍👩‍👧‍👦 family",
    "🏳️‍🌈 🇫🇷 👍🏽 ☀️ ❤",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒥ohn",
    "“curly” ‘quotes’ it’s „low“ «angle» ‹single›",
    "it\u02bcs rock\u2019n\u2019roll",
    "ﬁsh ﬂower oﬃce ﬆone ﬅ Ǆ ĳ ŉ",
    "ＦＵＬＬ　ｗｉｄｔｈ １２３！",
    "ﾊﾝｶｸ ｶﾀｶﾅ ﾡ",
    "zero\u200bwidth \u200djoiner \u200e\u202amarks",
    "byte\ufefforder \x00\x07\x1fcontrol\x7f \x0bvertical",
    "\x1b[31mred\x1b[0m terminal",
    "object\ufffcreplacement \ufffd",
    "line\u2028separator\u2029paragraph",
    "non\u00a0breaking\u2003space\u3000ideographic",
    "a &amp; b",
    "a &amp;amp; b",
    "a &amp;amp;amp; b",
    "&lt;b&gt;bold&lt;/b&gt;",
    "<b>bold</b> &amp; &eacute;",
    "&quot;x&quot; &#39;y&#39; &#x27;z&#x27; &apos;",
    "&ldquo;curly&rdquo; it&rsquo;s",
    "<i>&ldquo;curly&rdquo;</i>",
    "caf&eacute; &copy; 2024 &euro;5 &frac12; &nbsp; end",
    "AT&T R&D &notit; &unknown; & &; &#; &#x;",
    "P&Eacute;REZ",
    "http://example.com/?a=1&copy=2&lt=3",
    "x<y a<b&amp;c",
    "C# C++ .NET node.js a.b.c",
    "user@example.com, www.example.org/path_(x)",
    "snake_case camelCase kebab-case CONSTANT_CASE",
    "$5.99 €10 £3 ¥100 ₿1 50% ±2 5°C",
    "a-b–c—d−e",
    "(parentheses) [brackets] {braces} <angle> |pipe| \\backslash/ ~tilde~ `tick` ^caret",
    "#hashtag @mention *bold* _it_ :) :-( ^_^ ¯\\_(ツ)_/¯",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "abababababababababababab hahahahahaha",
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis",
    "qwrtpsdfghjklzxcvbnm xzqj",
    "<|startoftext|>",
    "a <|endoftext|> b",
    "<start_of_text> <end_of_text>",
    "</w> a</w> w>",
    "Ġ Ċ ! ¡ ÿ Ā",
    "a photo of a cat.",
    "This is a photo of a tench",
    "Hello World! 123 it's",
    "crème brûlée — naïve",
]


def caption(n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def noise(n):
    ranges = [(0x20, 0x7E), (0xA1, 0x17F), (0x370, 0x4FF), (0x4E00, 0x4E80), (0x1F300, 0x1F64F), (0x2010, 0x2050), (0x3040, 0x30FF)]
    return "".join(chr(rng.randint(*rng.choice(ranges))) for _ in range(n))


texts = list(PARTICULAR)
texts += [t.replace("{}", c) for c in CLASSES for t in rng.sample(TEMPLATES, 4)]
texts += [caption(n) for n in [1, 2, 3, 5, 8, 12, 20, 30] * 8]
texts += [caption(90) for _ in range(4)] + ["word " * n for n in (74, 75, 76, 77, 200)] + ["🐱" * 40]
# Where ftfy guesses at a wrong encoding, which kuea does not, the text is another.
texts += [s for s in (noise(n) for n in [4, 8, 16] * 20) if ftfy.fix_encoding(s) == s]
texts = [t for t in dict.fromkeys(texts)]

# SimpleTokenizer writes the special tokens in another way; OpenAI's and Hugging Face's is the one that kuea reads.
simple = open_clip.tokenizer.SimpleTokenizer()
lines = gzip.open(open_clip.tokenizer.default_bpe()).read().decode().split("\n")[1 : 49152 - 256 - 2 + 1]
renamed = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
vocab = {renamed.get(token, token): i for token, i in simple.encoder.items()}
theirs = transformers.CLIPTokenizer(vocab=vocab, merges=[tuple(line.split()) for line in lines], model_max_length=77)
backend = json.loads(theirs.backend_tokenizer.to_str())
del backend["model"]["vocab"], backend["model"]["merges"]

cases = []
for text in texts:
    row = simple([text])[0].tolist()
    ids = row[: row.index(simple.eot_token_id) + 1]
    hf = theirs(text, truncation=True, max_length=77)["input_ids"]
    special = "<|" in text or "_of_text>" in text
    cases.append(dict(text=text, ids=hf if special else ids, **({"hf": hf} if hf != ids and not special else {})))

versions = dict(open_clip=open_clip.__version__, transformers=transformers.__version__, ftfy=ftfy.__version__)
rows = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
out.write_text(f'{{"versions":{json.dumps(versions)},\n"tokenizer":{json.dumps(backend)},\n"cases":[\n{rows}\n]}}\n')
print(len(cases), sum("hf" in case for case in cases), out.stat().st_size)
