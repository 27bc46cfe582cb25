"""Scopes on the causal language models of transformers, built tiny."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
import torch
from torch import nn

from pytest_linearity.errors import ConfigError
from pytest_linearity.numerics.scope.match import match_scope, parameters_in_scope
from pytest_linearity.numerics.scope.names import compact
from pytest_linearity.numerics.scope.parse import parse_scope
from pytest_linearity.numerics.scope.structure import transformer_blocks
from pytest_linearity.probes.logits import last_token_logits
from tests.conformance.batches import together
from tests.conformance.compare import TOLERANCE, compare
from tests.conformance.overrides import EXCLUDED
from tests.conformance.tiny import architectures, tiny_model

DISJOINT = ("embeddings", "attention", "mlp", "norms", "head")

model = cache(tiny_model)


def held(of: nn.Module, scope: str) -> set[str]:
    """The names a scope holds; none where it is refused."""
    try:
        return set(parameters_in_scope(of, parse_scope(scope)))
    except ConfigError:
        return set()


def spelled(text: str) -> set[str]:
    """Every name that `a.{b,c}.{d,e} f` stands for."""
    found = set()
    for name in text.split():
        parts = [part.split("}") for part in name.split("{")]
        choices = [[parts[0][0]]] + [
            [choice + rest for choice in inner.split(",")] for inner, rest in parts[1:]
        ]
        found |= {"".join(row) for row in itertools.product(*choices)}
    return found


LLAMA = {
    "embeddings": "model.embed_tokens.weight",
    "attention": "model.layers.{0,1}.self_attn.{q,k,v,o}_proj.weight",
    "mlp": "model.layers.{0,1}.mlp.{gate,up,down}_proj.weight",
    "norms": "model.layers.{0,1}.{input,post_attention}_layernorm.weight model.norm.weight",
    "head": "lm_head.weight",
    "biases": "",
}
_BOTH = "{weight,bias}"
_BART = "model.decoder.layers.{0,1}"

EXPECTED = {
    "llama": LLAMA,
    "gemma": {**LLAMA, "head": "model.embed_tokens.weight"},
    "mixtral": {
        **LLAMA,
        "mlp": "model.layers.{0,1}.mlp.{gate.weight,experts.gate_up_proj,experts.down_proj}",
    },
    "deepseek_v3": {
        **LLAMA,
        "attention": "model.layers.{0,1}.self_attn.{q_a_proj,q_b_proj,kv_a_proj_with_mqa,kv_b_proj,"
        "o_proj}.weight",
        "mlp": "model.layers.0.mlp.{gate,up,down}_proj.weight model.layers.1.mlp.gate.weight "
        "model.layers.1.mlp.experts.{gate_up,down}_proj "
        "model.layers.1.mlp.shared_experts.{gate,up,down}_proj.weight",
        "norms": LLAMA["norms"] + " model.layers.{0,1}.self_attn.{q_a,kv_a}_layernorm.weight",
    },
    "phi": {
        "embeddings": "model.embed_tokens.weight",
        "attention": f"model.layers.{{0,1}}.self_attn.{{q_proj,k_proj,v_proj,dense}}.{_BOTH}",
        "mlp": f"model.layers.{{0,1}}.mlp.{{fc1,fc2}}.{_BOTH}",
        "norms": f"model.layers.{{0,1}}.input_layernorm.{_BOTH} model.final_layernorm.{_BOTH}",
        "head": f"lm_head.{_BOTH}",
        "biases": "model.layers.{0,1}.self_attn.{q_proj,k_proj,v_proj,dense}.bias lm_head.bias "
        "model.layers.{0,1}.{mlp.fc1,mlp.fc2,input_layernorm}.bias model.final_layernorm.bias",
    },
    "gpt2": {
        "embeddings": "transformer.{wte,wpe}.weight",
        "attention": f"transformer.h.{{0,1}}.attn.{{c_attn,c_proj}}.{_BOTH}",
        "mlp": f"transformer.h.{{0,1}}.mlp.{{c_fc,c_proj}}.{_BOTH}",
        "norms": f"transformer.h.{{0,1}}.{{ln_1,ln_2}}.{_BOTH} transformer.ln_f.{_BOTH}",
        "head": "transformer.wte.weight",
        "biases": "transformer.h.{0,1}.{attn.c_attn,attn.c_proj,mlp.c_fc,mlp.c_proj}.bias "
        "transformer.h.{0,1}.{ln_1,ln_2}.bias transformer.ln_f.bias",
    },
    "bloom": {
        "embeddings": "transformer.word_embeddings.weight",
        "attention": f"transformer.h.{{0,1}}.self_attention.{{query_key_value,dense}}.{_BOTH}",
        "mlp": f"transformer.h.{{0,1}}.mlp.dense_{{h_to_4h,4h_to_h}}.{_BOTH}",
        "norms": f"transformer.h.{{0,1}}.{{input,post_attention}}_layernorm.{_BOTH} "
        f"transformer.word_embeddings_layernorm.{_BOTH} transformer.ln_f.{_BOTH}",
        "head": "transformer.word_embeddings.weight",
        "biases": "transformer.h.{0,1}.self_attention.{query_key_value,dense}.bias "
        "transformer.h.{0,1}.mlp.dense_{h_to_4h,4h_to_h}.bias "
        "transformer.h.{0,1}.{input,post_attention}_layernorm.bias "
        "transformer.{word_embeddings_layernorm,ln_f}.bias",
    },
    "opt": {
        "embeddings": "model.decoder.{embed_tokens,embed_positions}.weight",
        "attention": f"{_BART}.self_attn.{{q,k,v,out}}_proj.{_BOTH}",
        "mlp": f"{_BART}.{{fc1,fc2}}.{_BOTH}",
        "norms": f"{_BART}.{{self_attn,final}}_layer_norm.{_BOTH} "
        f"model.decoder.final_layer_norm.{_BOTH}",
        "head": "model.decoder.embed_tokens.weight",
        "biases": f"{_BART}.self_attn.{{q,k,v,out}}_proj.bias {_BART}.{{fc1,fc2}}.bias "
        f"{_BART}.{{self_attn,final}}_layer_norm.bias model.decoder.final_layer_norm.bias",
    },
    "bart": {
        "embeddings": "model.decoder.{embed_tokens,embed_positions}.weight",
        "attention": f"{_BART}.{{self,encoder}}_attn.{{q,k,v,out}}_proj.{_BOTH}",
        "mlp": f"{_BART}.{{fc1,fc2}}.{_BOTH}",
        "norms": f"{_BART}.{{self_attn,encoder_attn,final}}_layer_norm.{_BOTH} "
        f"model.decoder.layernorm_embedding.{_BOTH}",
        "head": "model.decoder.embed_tokens.weight",
        "biases": f"{_BART}.{{self,encoder}}_attn.{{q,k,v,out}}_proj.bias {_BART}.{{fc1,fc2}}.bias "
        f"{_BART}.{{self_attn,encoder_attn,final}}_layer_norm.bias "
        "model.decoder.layernorm_embedding.bias",
    },
    "mamba": {
        "embeddings": "backbone.embeddings.weight",
        "attention": "backbone.layers.{0,1}.mixer.{A_log,D,conv1d.weight,conv1d.bias,dt_proj.bias} "
        "backbone.layers.{0,1}.mixer.{in,x,dt,out}_proj.weight",
        "mlp": "",
        "norms": "backbone.layers.{0,1}.norm.weight backbone.norm_f.weight",
        "head": "backbone.embeddings.weight",
        "biases": "backbone.layers.{0,1}.mixer.{conv1d,dt_proj}.bias",
    },
    "nemotron_h": {  # one mixer in each block: Mamba, experts, attention, feed-forward
        "attention": "model.layers.0.mixer.{dt_bias,A_log,D,conv1d.weight,conv1d.bias} "
        "model.layers.0.mixer.{in,out}_proj.weight model.layers.2.mixer.{q,k,v,o}_proj.weight",
        "mlp": "model.layers.1.mixer.experts.{up,down}_proj model.layers.1.mixer.gate.weight "
        "model.layers.1.mixer.shared_experts.{up,down}_proj.weight "
        "model.layers.3.mixer.{up,down}_proj.weight",
        "norms": "model.layers.{0,1,2,3}.norm.weight model.layers.0.mixer.norm.weight "
        "model.norm_f.weight",
    },
    "lfm2": {  # the name of its short convolution tells nothing
        "attention": "model.layers.0.conv.{conv,in_proj,out_proj}.weight "
        "model.layers.1.self_attn.{q,k,v,out}_proj.weight",
        "mlp": "model.layers.{0,1}.feed_forward.{w1,w2,w3}.weight",
    },
    "bert": {  # nor do those of its feed-forward layers
        "attention": f"bert.encoder.layer.{{0,1}}.attention.self.{{query,key,value}}.{_BOTH} "
        f"bert.encoder.layer.{{0,1}}.attention.output.dense.{_BOTH}",
        "mlp": f"bert.encoder.layer.{{0,1}}.{{intermediate,output}}.dense.{_BOTH}",
        "embeddings": "bert.embeddings.{word,position,token_type}_embeddings.weight",
        "head": f"bert.embeddings.word_embeddings.weight cls.predictions.transform.dense.{_BOTH} "
        "cls.predictions.bias",
    },
    "xlm": {  # attention, feed-forward layers and norms in lists of their own
        "attention": f"transformer.attentions.{{0,1}}.{{q,k,v,out}}_lin.{_BOTH}",
        "mlp": f"transformer.ffns.{{0,1}}.{{lin1,lin2}}.{_BOTH}",
        "last_blocks:1": f"transformer.attentions.1.{{q,k,v,out}}_lin.{_BOTH} "
        f"transformer.ffns.1.{{lin1,lin2}}.{_BOTH} transformer.layer_norm{{1,2}}.1.{_BOTH}",
    },
    "phi4_multimodal": {
        "embeddings": "model.embed_tokens.weight",
        "attention": "model.layers.{0,1}.self_attn.{qkv,o}_proj.weight",
        "mlp": "model.layers.{0,1}.mlp.{gate_up,down}_proj.weight",
        "norms": LLAMA["norms"],
        "last_blocks:1": "model.layers.1.self_attn.{qkv,o}_proj.weight "
        "model.layers.1.mlp.{gate_up,down}_proj.weight "
        "model.layers.1.{input,post_attention}_layernorm.weight",
    },
}


@pytest.mark.parametrize(
    ("name", "scope"), [(name, scope) for name, scopes in EXPECTED.items() for scope in scopes]
)
def test_names_are_those_written_down(name: str, scope: str) -> None:
    assert held(model(name), scope) == spelled(EXPECTED[name][scope])


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("llama", "model.layers.0.", "model.layers.1."),
        ("gpt2", "transformer.h.0.", "transformer.h.1."),
        ("mamba", "backbone.layers.0.", "backbone.layers.1."),
        ("bart", "model.decoder.layers.0.", "model.decoder.layers.1."),
        ("git", "git.encoder.layer.0.", "git.encoder.layer.1."),
        ("gemma3", "model.language_model.layers.0.", "model.language_model.layers.1."),
        ("modernbert-decoder", "model.layers.0.", "model.layers.1."),
        ("gemma3n_text", "model.layers.0.", "model.layers.2."),
        ("blt", "model.local_encoder.layers.0.", "model.local_decoder.layers.1."),
        ("hrm_text", "model.L_module.layers.0.", "model.H_module.layers.1."),
    ],
)
def test_blocks_are_prefixes(name: str, first: str, last: str) -> None:
    everything = held(model(name), "full")
    for scope, prefix in (("first_blocks:1", first), ("last_blocks:1", last)):
        assert held(model(name), scope) == {n for n in everything if n.startswith(prefix)}


def test_a_shared_block_is_in_every_block_that_has_it() -> None:
    shared = {n for n in held(model("zamba"), "full") if ".shared_transf." in n}
    assert shared
    for scope in ("blocks:1", "last_blocks:1"):
        assert shared < held(model("zamba"), scope)
    assert not shared & held(model("zamba"), "first_blocks:1")


def _reaching(of: nn.Module, names: set[str]) -> set[str]:
    """Those of some parameters that last-token logits of text alone depend on."""
    tensors = {n: p for n, p in of.named_parameters() if n in names}
    of.requires_grad_(True)
    try:
        logits = torch.cat([last_token_logits(of, batch)() for batch in together()])
        weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
        found = torch.autograd.grad(
            (logits * weights).sum(), list(tensors.values()), allow_unused=True
        )
    finally:
        of.requires_grad_(False)
    return {n for n, g in zip(tensors, found, strict=True) if g is not None and bool(g.any())}


@pytest.mark.parametrize("name", ["git", "phi4_multimodal", "blt", "gemma3", "hrm_text", "fuyu"])
def test_blocks_of_models_with_towers_reach_the_logits(name: str) -> None:
    for scope in ("first_blocks:1", "last_blocks:1"):
        names = held(model(name), scope)
        assert _reaching(model(name), names) == names


@pytest.mark.parametrize("name", ["git", "phi4_multimodal"])
@pytest.mark.parametrize("scope", DISJOINT)
def test_kinds_of_models_with_towers_reach_the_logits(name: str, scope: str) -> None:
    names = held(model(name), scope)
    assert _reaching(model(name), names) == names


_QWEN4 = [
    "model.layers.0.ple.key_proj.weight",
    "model.layers.0.ple.value_proj.weight",
    "model.layers.0.ple.conv1d.weight",
    "model.hyper_connection_mixer.input_mix_weight_down.weight",
    "model.hyper_connection_mixer.input_mix_weight_up.weight",
]

LEFT = {
    "blt": [
        "model.local_encoder.patch_embedding_projection.weight",
        "model.global_transformer.token_embedding_projection.weight",
        "model.local_decoder.patch_embedding_projection.weight",
    ],
    "big_bird": ["bert.pooler.weight"],
    "deepseek_v4": ["model.hc_head.hc_fn", "model.hc_head.hc_base", "model.hc_head.hc_scale"],
    "doge": ["model.layers.{0-1}.input_residual", "model.layers.{0-1}.post_attention_residual"],
    "electra": ["electra.embeddings_project.weight"],
    "gemma3n_text": [
        "model.layers.{0-2}.altup.correct_output_scale",
        "model.layers.{0-2}.altup.correction_coefs.weight",
        "model.layers.{0-2}.altup.prediction_coefs.weight",
        "model.layers.{0-2}.altup.modality_router.weight",
        "model.layers.{0-2}.laurel.linear_left.weight",
        "model.layers.{0-2}.laurel.linear_right.weight",
        "model.layers.{0-2}.per_layer_input_gate.weight",
        "model.layers.{0-2}.per_layer_projection.weight",
        "model.per_layer_model_projection.weight",
        "model.altup_projections.{0-2}.weight",
        "model.altup_unembed_projections.{0-2}.weight",
    ],
    "gemma4_text": [
        "model.layers.{0-1}.per_layer_input_gate.weight",
        "model.layers.{0-1}.per_layer_projection.weight",
        "model.per_layer_model_projection.weight",
    ],
    "hrm_text": ["model.z_L_init"],
    "hy_v4": ["model.hc_head.hc_fn", "model.hc_head.hc_base", "model.hc_head.hc_scale"],
    "inkling2_text": ["model.final_input.query"],
    "qwen4_exp": _QWEN4,
    "qwen4_exp_text": _QWEN4,
    "rembert": ["rembert.encoder.embedding_hidden_mapping_in.weight"],
    "roc_bert": ["roc_bert.embeddings.map_inputs_layer.weight"],
    "roformer": ["roformer.embeddings_project.weight"],
    "zamba": ["model.layers.{1-2}.linear.weight"],
    "zamba2": ["model.layers.{1-2}.linear.weight"],
    "zaya": ["model.input_hidden_states_scale"],
}
"""What of each architecture is in `full` alone: projections between the embedding and the blocks
and gates of residual streams. Of other architectures nothing is."""

TOWERS = {
    *("blt", "fuyu", "gemma3", "gemma4", "gemma4_unified", "git", "got_ocr2"),
    *("moss_transcribe_diarize", "phi4_multimodal"),
}
"""Architectures with parts that take other input than the prompt's tokens."""

WITHOUT = {
    "mlp": {"mamba", "mamba2", "falcon_mamba"},
    "norms": {"nanochat", "olmo", "hrm_text"},
}
"""Architectures without a kind of parameters."""


@pytest.mark.parametrize("name", sorted(architectures().keys() - EXCLUDED.keys()))
def test_every_architecture(name: str) -> None:
    of = tiny_model(name)
    found = {scope: held(of, scope) for scope in DISJOINT}
    for scope, names in found.items():
        assert bool(names) == (name not in WITHOUT.get(scope, ())), scope
    shared = found["embeddings"] & found["head"]  # tied
    assert sum(map(len, found.values())) - len(shared) == len(set().union(*found.values()))
    assert len(shared) <= 1
    blocks = transformer_blocks(of)
    assert len(blocks) >= 2
    within = held(of, f"blocks:0-{len(blocks) - 1}")
    assert found["attention"] | found["mlp"] <= within or name == "blt"
    assert not found["head"] & within
    everything = [n for n, _ in of.named_parameters()]
    biases = held(of, "biases")
    text = set().union(*found.values(), biases)
    left = [n for n in everything if n not in text]
    if name in TOWERS:
        assert not [n for n in left if n in within] or name == "gemma4"
    else:
        assert compact(left) == LEFT.get(name, [])


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("llama", "attention+norms"),
        ("gpt2", "head+biases"),  # tied
        ("zamba", "last_blocks:1"),  # shared with another block
        ("phi4_multimodal", "blocks:0-0+regex:^lm_head"),
    ],
)
def test_engine_agrees_with_brute_force(name: str, scope: str) -> None:
    assert compare(model(name), together(), scope).worst <= TOLERANCE


def test_describe_of_a_whole_model() -> None:
    match = match_scope(model("mixtral"), parse_scope("full"))
    described = match.describe()
    assert described["tensors"] == 21
    assert described["parameters"] == sum(p.numel() for p in model("mixtral").parameters())
    assert described["names"] == [
        "model.embed_tokens.weight",
        *(f"model.layers.{{0-1}}.self_attn.{x}_proj.weight" for x in "qkvo"),
        "model.layers.{0-1}.mlp.gate.weight",
        "model.layers.{0-1}.mlp.experts.gate_up_proj",
        "model.layers.{0-1}.mlp.experts.down_proj",
        "model.layers.{0-1}.input_layernorm.weight",
        "model.layers.{0-1}.post_attention_layernorm.weight",
        "model.norm.weight",
        "lm_head.weight",
    ]
