"""PyTorch's side of the training rows: one process, one LoRA step per request.

    torch_peer.py MODEL ADAPTER RECORDS THREADS

MODEL is a Hugging Face directory of a plain Llama, ADAPTER a PEFT directory, RECORDS a JSON list of
token lists of one length (every token after the first is a target). A request is {"arm": name}, with
"check" true for gradients instead of a step. A step is forward, backward, the LoRA gradient of every
record, their mean, AdamW. Arms:

    eager     per-record copies of the adapter as views of it, one batched forward and backward
    compiled  the same under torch.compile
    func      torch.func: vmap over records of grad
    peft      transformers and PEFT, a forward and backward per record
"""
import json
import os
import pathlib
import sys
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch.nn.attention import SDPBackend, sdpa_kernel

MODEL, ADAPTER, RECORDS, THREADS = sys.argv[1:5]
torch.set_num_threads(int(THREADS))
CONFIG = json.loads((pathlib.Path(MODEL) / "config.json").read_text())
LORA = json.loads((pathlib.Path(ADAPTER) / "adapter_config.json").read_text())
SCALE = LORA["lora_alpha"] / LORA["r"]
HEADS, KV_HEADS = CONFIG["num_attention_heads"], CONFIG["num_key_value_heads"]
DIM = CONFIG.get("head_dim") or CONFIG["hidden_size"] // HEADS
LAYERS, EPS = CONFIG["num_hidden_layers"], CONFIG["rms_norm_eps"]
WEIGHTS = {k: v.float() for k, v in load_file(pathlib.Path(MODEL) / "model.safetensors").items()}
INITIAL = {
    k.removeprefix("base_model.model."): v
    for k, v in load_file(pathlib.Path(ADAPTER) / "adapter_model.safetensors").items()
}
TOKENS = torch.tensor(json.loads(pathlib.Path(RECORDS).read_text()))
LENGTH = TOKENS.shape[1] - 1
ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "fused": True}


def rope_table():
    powers = torch.arange(0, DIM, 2).float() / DIM
    angles = torch.outer(torch.arange(LENGTH).float(), CONFIG["rope_theta"] ** -powers)
    both = torch.cat([angles, angles], -1)
    return both.cos(), both.sin()


COS, SIN = rope_table()


def rope(x):
    half = DIM // 2
    return x * COS + torch.cat([-x[..., half:], x[..., :half]], -1) * SIN


def norm(x, weight):
    return F.rms_norm(x, (x.shape[-1],), weight, EPS)


def losses(lora, tokens):
    """Mean NLL per record of tokens[records, length + 1]; matrices of `lora` may have a leading record."""

    def linear(x, name):
        a, b = lora[f"{name}.lora_A.weight"], lora[f"{name}.lora_B.weight"]
        low = x @ a.mT * SCALE
        return F.linear(x, WEIGHTS[f"{name}.weight"]) + low @ b.mT

    records = tokens.shape[0]
    x = F.embedding(tokens[:, :-1], WEIGHTS["model.embed_tokens.weight"])
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        y = norm(x, WEIGHTS[f"{layer}.input_layernorm.weight"])
        q, k, v = (linear(y, f"{layer}.self_attn.{which}_proj") for which in "qkv")
        q = rope(q.view(records, LENGTH, HEADS, DIM).transpose(1, 2))
        k = rope(k.view(records, LENGTH, KV_HEADS, DIM).transpose(1, 2))
        v = v.view(records, LENGTH, KV_HEADS, DIM).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        y = y.transpose(1, 2).reshape(records, LENGTH, HEADS * DIM)
        x = x + linear(y, f"{layer}.self_attn.o_proj")
        y = norm(x, WEIGHTS[f"{layer}.post_attention_layernorm.weight"])
        y = F.silu(linear(y, f"{layer}.mlp.gate_proj")) * linear(y, f"{layer}.mlp.up_proj")
        x = x + linear(y, f"{layer}.mlp.down_proj")
    x = norm(x, WEIGHTS["model.norm.weight"])
    logits = F.linear(x, WEIGHTS.get("lm_head.weight", WEIGHTS["model.embed_tokens.weight"]))
    nll = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    return nll.view(records, LENGTH).mean(1)


class Batched:
    """Gradients per record from one backward: every record has its own view of the adapter."""

    def __init__(self, is_compiled):
        self.parameters = {k: v.clone().requires_grad_() for k, v in INITIAL.items()}
        self.losses = torch.compile(losses, dynamic=False) if is_compiled else losses

    def gradients(self):
        records = TOKENS.shape[0]
        views = {
            k: v.detach().expand(records, *v.shape).requires_grad_() for k, v in self.parameters.items()
        }
        found = self.losses(views, TOKENS)
        return found.detach(), dict(zip(views, torch.autograd.grad(found.sum(), list(views.values()))))


class Func:
    def __init__(self):
        self.parameters = {k: v.clone().requires_grad_() for k, v in INITIAL.items()}
        one = lambda lora, tokens: losses(lora, tokens[None])[0]
        self.each = torch.func.vmap(torch.func.grad_and_value(one), in_dims=(None, 0))

    def gradients(self):
        given = {k: v.detach() for k, v in self.parameters.items()}
        # The fused attention has no batching rule.
        with sdpa_kernel(SDPBackend.MATH):
            gradients, found = self.each(given, TOKENS)
        return found, gradients


class Peft:
    def __init__(self):
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
        self.model = PeftModel.from_pretrained(model, ADAPTER, is_trainable=True)
        self.parameters = {
            k.removeprefix("base_model.model.").replace(".default", ""): v
            for k, v in self.model.named_parameters()
            if v.requires_grad
        }

    def gradients(self):
        found, gradients = [], {k: [] for k in self.parameters}
        for tokens in TOKENS:
            loss = self.model(tokens[None], labels=tokens[None]).loss
            each = torch.autograd.grad(loss, list(self.parameters.values()))
            for key, gradient in zip(self.parameters, each):
                gradients[key].append(gradient)
            found.append(loss.detach())
        return torch.stack(found), {k: torch.stack(v) for k, v in gradients.items()}


MAKE = {"eager": lambda: Batched(False), "compiled": lambda: Batched(True), "func": Func, "peft": Peft}
arms = {}


def answer(request):
    name = request["arm"]
    if name == "versions":
        return {"torch": torch.__version__, "threads": torch.get_num_threads()}
    if name not in arms:
        arm = MAKE[name]()
        arms[name] = (arm, torch.optim.AdamW(list(arm.parameters.values()), **ADAM))
    arm, optimizer = arms[name]
    started = time.perf_counter()
    found, gradients = arm.gradients()
    if request.get("check"):
        squares = sum(g.double().square().flatten(1).sum(1) for g in gradients.values())
        return {"losses": found.tolist(), "norms": squares.sqrt().tolist()}
    for key, parameter in arm.parameters.items():
        parameter.grad = gradients[key].mean(0)
    optimizer.step()
    return {"ms": (time.perf_counter() - started) * 1000, "loss": found.mean().item()}


# Whatever a library prints must not stand among the answers.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
