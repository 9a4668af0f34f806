"""Golden files of the tokenizers library and of transformers' chat templates: small tokenizers in the
three shapes that the Llama family has (Qwen's, Llama 3's and SentencePiece's), texts and their ids,
conversations and theirs. `VENV/bin/python runtime/golden/make_chat.py` writes chat/<name>.json;
make.py says how to make VENV.
"""
import json
import pathlib
import tempfile

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).resolve().parent / "chat"
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA_SPLIT = QWEN_SPLIT.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?")
TEXT = [
    "The peer sends a request; the peer that receives the request sends an answer. " * 4,
    "It's naïve to trust 12345 peers – don't. 東京 is a city.\n\n  indented\tcode\n" * 3,
]
TEXTS = [
    "a peer",
    " leading and trailing  ",
    "It's 12345 peers,\n\n\tindented — naïve 東京 😀",
    "the request\r\nthat receives",
    "<|im_end|> is text here, [INST] too",
    "",
]
CHATML = """{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}{%- else %}{{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}{%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}{%- elif message.role == 'assistant' %}{%- set content = message.content %}{%- if '</think>' in content %}{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}{{- '<|im_start|>assistant\\n' + content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
LLAMA3 = """{{- bos_token }}{%- if strftime_now is defined %}{%- set date_string = 'today' %}{%- else %}{%- set date_string = 'today' %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] | trim %}{%- set messages = messages[1:] %}{%- else %}{%- set system_message = '' %}{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + date_string + '\\n\\n' + system_message + '<|eot_id|>' }}
{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""
LLAMA2 = """{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate user/assistant') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'].strip() + ' [/INST]' }}{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"""
CHATS = [
    [{"role": "user", "content": "Who sends the request?"}],
    [
        {"role": "user", "content": " 東京? \n"},
        {"role": "assistant", "content": "<think>\na city\n</think>\n\nIt's a city."},
        {"role": "user", "content": "don't"},
    ],
    [{"role": "system", "content": "answer "}, {"role": "user", "content": "the peer"}],
]


def byte_level(split, normalizer, ignore_merges):
    tokenizer = Tokenizer(BPE(ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=380, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def sentence_piece():
    model = BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    trained = Tokenizer(model)
    trained.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    first = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=360, special_tokens=first, limit_alphabet=40, show_progress=False
    )
    trained.train_from_iterator([word for text in TEXT for word in text.split(" ")], trainer)
    # As real files have it: byte tokens belong to the vocabulary, but are not added tokens.
    parts = json.loads(trained.to_str())
    parts["added_tokens"] = [one for one in parts["added_tokens"] if one["id"] < 3]
    tokenizer = Tokenizer.from_str(json.dumps(parts))
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def chat_of(tokenizer, messages, open_answer):
    try:
        return tokenizer.apply_chat_template(messages, add_generation_prompt=open_answer)
    except Exception:  # the template's own refusal
        return None


def make(name, tokenizer, tokens, template, **named):
    tokenizer.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in tokens])
    plain = [AddedToken(one, special=False, normalized=False) for one in ("<think>", "</think>")]
    tokenizer.add_tokens(plain if name == "qwen" else [])
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(f"{folder}/tokenizer.json")
        fast = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json", **named)
    fast.chat_template = template
    # Texts are taken literally, so their ids are those of a tokenizer without added tokens.
    parts = json.loads(tokenizer.to_str())
    literal = Tokenizer.from_str(json.dumps({**parts, "added_tokens": []}))
    texts = []
    for text in TEXTS:
        ids = literal.encode(text, add_special_tokens=False).ids
        texts.append({"text": text, "ids": ids, "decoded": literal.decode(ids)})
    chats = [
        {"messages": messages, "open": opened, "ids": chat_of(fast, messages, opened)}
        for messages in CHATS
        for opened in (False, True)
    ]
    config = {**named, "chat_template": template}
    golden = {"tokenizer": parts, "config": config, "texts": texts, "chats": chats}
    HERE.mkdir(exist_ok=True)
    text = json.dumps(golden, ensure_ascii=False, indent=1) + "\n"
    (HERE / f"{name}.json").write_text(text, encoding="utf-8")
    print(f"{name}: {len(parts['model']['vocab'])} tokens, {len(text)} characters")


if __name__ == "__main__":
    chatml = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    make("qwen", byte_level(QWEN_SPLIT, True, False), chatml, CHATML, eos_token="<|im_end|>")
    headers = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    llama3 = byte_level(LLAMA_SPLIT, False, True)
    opening = "<|begin_of_text|>"
    make("llama3", llama3, headers, LLAMA3, bos_token=opening, eos_token="<|eot_id|>")
    pieces = ["<unk>", "<s>", "</s>"]
    make("llama2", sentence_piece(), pieces, LLAMA2, bos_token="<s>", eos_token="</s>")
