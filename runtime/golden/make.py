"""Golden files of transformers and PEFT: small random models of each architecture, and what these
two compute on them: logits, loss and every LoRA gradient. The runtime's tests are held against them.

    python3 -m venv VENV && VENV/bin/pip install -r runtime/golden/requirements.txt
    VENV/bin/python runtime/golden/make.py             writes runtime/golden/<name>/ and its adapter/
    VENV/bin/python runtime/golden/make.py --compare DIR
        DIR as runtime/golden/export.ts wrote it: each <name>/ is an adapter of our PEFT writer, with
        our logits beside it; loads it with PEFT on the same model and compares.
"""
import copy
import json
import pathlib
import shutil
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

HERE = pathlib.Path(__file__).resolve().parent
TOKENS = 40
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

COMMON = {
    "vocab_size": 200,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
# name: (config, LoRA settings, dtype of the stored weights)
MODELS = {
    "llama3": (
        LlamaConfig(**COMMON, rope_theta=500000.0, rope_scaling=LLAMA3, tie_word_embeddings=True),
        {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"},
        torch.float32,
    ),
    "llama-biases-yarn": (
        LlamaConfig(**COMMON, rope_scaling=YARN, attention_bias=True, mlp_bias=True),
        {"r": 4, "lora_alpha": 8, "target_modules": ALL},
        torch.bfloat16,
    ),
    "llama-linear": (
        LlamaConfig(**COMMON, rope_scaling={"rope_type": "linear", "factor": 2.0}),
        {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "v_proj"]},
        torch.float16,
    ),
    "qwen2": (
        Qwen2Config(**COMMON, rope_theta=1000000.0, rms_norm_eps=1e-6),
        {"r": 4, "lora_alpha": 16, "target_modules": r".*\.(q_proj|k_proj|v_proj|down_proj)"},
        torch.bfloat16,
    ),
    "qwen2-window": (
        Qwen2Config(
            **COMMON,
            use_sliding_window=True,
            sliding_window=12,
            max_window_layers=1,
            tie_word_embeddings=True,
        ),
        {"r": 4, "lora_alpha": 16, "target_modules": ALL},
        torch.bfloat16,
    ),
    "qwen3": (
        Qwen3Config(**COMMON, head_dim=16, tie_word_embeddings=True),
        {"r": 8, "lora_alpha": 8, "use_rslora": True, "target_modules": ALL},
        torch.bfloat16,
    ),
    "smollm2": (
        LlamaConfig(
            **{**COMMON, "hidden_size": 48, "num_attention_heads": 3, "num_key_value_heads": 1},
            head_dim=16,
            rope_theta=100000.0,
            tie_word_embeddings=True,
        ),
        {"r": 4, "lora_alpha": 8, "target_modules": ALL},
        torch.bfloat16,
    ),
    "mistral": (
        MistralConfig(**COMMON, sliding_window=11),
        {"r": 4, "lora_alpha": 8, "target_modules": ALL},
        torch.bfloat16,
    ),
}


def randomise(model, generator, dtype):
    """Weights large enough that every part of the graph matters, all exact in the stored dtype."""
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if name.endswith("norm.weight"):
            values = 1 + 0.2 * values
        else:
            values = values * (0.3 if name.endswith(".bias") else 0.15)
        parameter.data = values.to(dtype).float()


def loss_of(logits, tokens, mask):
    """Mean NLL of the tokens that the mask names, each predicted from those before it."""
    picked = torch.log_softmax(logits[:-1], -1).gather(1, tokens[1:, None])[:, 0]
    return -(picked * mask[1:]).sum() / mask[1:].sum()


def make(name, seed):
    config, lora, dtype = MODELS[name]
    generator = torch.Generator().manual_seed(seed)
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).float().eval()
    randomise(model, generator, dtype)
    tokens = torch.randint(config.vocab_size, (TOKENS,), generator=generator)
    mask = (torch.rand(TOKENS, generator=generator) < 0.7).float()
    mask[0], mask[-1] = 0, 1
    with torch.no_grad():
        base_logits = model(tokens[None]).logits[0]
    # One of the models is stored in shards, as large ones are.
    # A copy is converted, because the RoPE frequencies of this one must stay f32.
    stored = copy.deepcopy(model).to(dtype)
    stored.save_pretrained(folder, max_shard_size="20KB" if name == "qwen2" else "1GB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora))
    for key, parameter in model.named_parameters():
        if "lora_" in key:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink()
    settings = folder / "adapter" / "adapter_config.json"
    fields = json.loads(settings.read_text())
    if isinstance(fields["target_modules"], list):
        fields["target_modules"].sort()  # PEFT writes a set, in an order of its own
    settings.write_text(json.dumps(fields, indent=2) + "\n")
    logits = model(tokens[None]).logits[0]
    loss = loss_of(logits, tokens, mask)
    loss.backward()
    expected = {
        "tokens": tokens.float(),
        "mask": mask,
        "base_logits": base_logits,
        "logits": logits.detach(),
        "loss": loss.detach()[None],
    }
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            expected["gradient." + key.replace(".default.weight", "")] = parameter.grad
    save_file({key: value.contiguous() for key, value in expected.items()}, folder / "expected.safetensors")
    print(f"{name}: loss {loss.item():.6f}, {len(expected) - 5} gradients")


def compare(directory):
    worst = 0.0
    for name in MODELS:
        model = AutoModelForCausalLM.from_pretrained(
            HERE / name, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        model = PeftModel.from_pretrained(model, directory / name)
        tokens = load_file(HERE / name / "expected.safetensors")["tokens"].long()
        with torch.no_grad():
            logits = model(tokens[None]).logits[0]
        ours = load_file(directory / name / "logits.safetensors")["logits"]
        error = ((ours - logits).abs().max() / logits.abs().max()).item()
        worst = max(worst, error)
        print(f"{name}: logits of PEFT with our adapter differ from ours by {error:.1e}")
    if not worst <= 1e-5:
        sys.exit(f"expected at most 1e-5, found {worst:.1e}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--compare"]:
        compare(pathlib.Path(sys.argv[2]))
    else:
        for number, each in enumerate(MODELS):
            make(each, 100 + number)
        print(json.dumps({"bytes": sum(f.stat().st_size for f in HERE.rglob("*.*") if f.is_file())}))
