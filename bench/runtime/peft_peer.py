"""PEFT's side of the adapter rows.

    peft_peer.py logits MODEL ADAPTER TOKENS OUT      logits with an adapter that we trained
    peft_peer.py train MODEL ADAPTER TOKENS OUT       trains an adapter of PEFT's own into ADAPTER, then the same

MODEL is a Hugging Face directory, ADAPTER a PEFT directory, TOKENS a JSON list of token lists; OUT becomes a
safetensors file with the tensor `logits`, [tokens, vocabulary] of the first list.
"""
import json
import pathlib
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

STEPS = 4
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

torch.set_num_threads(2)
torch.manual_seed(1)
what, folder, adapter, tokens, out = sys.argv[1:6]
records = [torch.tensor(one)[None] for one in json.loads(pathlib.Path(tokens).read_text())]
base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
if what == "train":
    settings = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=LINEARS)
    model = get_peft_model(base, settings)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    for _ in range(STEPS):
        for one in records:
            model(one, labels=one).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(adapter)
else:
    model = PeftModel.from_pretrained(base, adapter)
with torch.no_grad():
    save_file({"logits": model.eval()(records[0]).logits[0].contiguous()}, out)
