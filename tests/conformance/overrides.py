"""What single architectures need beyond the generic small sizes."""

from __future__ import annotations

from typing import Any

DEFAULT = object()
"""Leaves a key at its default."""

_LINEAR = {"layer_types": ["linear_attention", "full_attention"]}
_SLIDING = {"layer_types": ["sliding_attention", "full_attention"]}
_MIXED_MLP = {"mlp_layer_types": ["dense", "sparse"]}
_ZAMBA = {
    "num_hidden_layers": 3,
    "layers_block_type": ["linear_attention", "hybrid", "hybrid"],
    "n_mamba_heads": 2,
    "attention_hidden_size": DEFAULT,
    "attention_head_dim": DEFAULT,
    "num_key_value_heads": 4,
}
_QWEN4 = {
    "layer_types": ["linear_attention", "indexed_attention"],
    "hc_lowrank": 4,
    "ple_layer_ids": [1],
    "ple_embed_dim": 32,
    "heads_per_ngram": 2,
    "ngram_vocab_size_base": 50,
    "make_ngram_vocab_size_divisible_by": 2,
    "split_ngram_parts": 2,
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 4,
    "indexer_compress_ratio": 2,
}
_GEMMA4 = {
    "layer_types": ["sliding_attention", "full_attention"],
    "enable_moe_block": True,
    "top_k_experts": 2,
}
_DOTS3 = {
    "layer_types": ["indexed_attention", "sliding_attention"],
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 4,
    "swa_q_lora_rank": 12,
    "swa_kv_lora_rank": 8,
    "swa_head_dim": 10,
    "swa_qk_nope_head_dim": 6,
    "swa_v_head_dim": 8,
}
_LLAMA4 = {"no_rope_layers": [1, 0], "moe_layers": [1]}

OVERRIDES: dict[str, dict[str, Any]] = {
    "bailing_hybrid": _LINEAR,
    "bamba": {"attn_layer_indices": [1]},
    "beam": _MIXED_MLP,
    "blt": {"encoder_hash_byte_group_vocab": 50, "encoder_hash_byte_group_size": [3, 4]},
    "cohere2": _SLIDING,
    "cohere2_moe": _SLIDING,
    "cohere_compass_text": {
        **_SLIDING,
        "rope_parameters": {
            layer_type: {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
            for layer_type in _SLIDING["layer_types"]
        },
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"moe_top_k": 2, "ffn_hidden_size": 24},
    },
    "deepseek_v4": {
        "num_hidden_layers": 3,
        "layer_types": [
            "heavily_compressed_attention",
            "compressed_sparse_attention",
            "sliding_attention",
        ],
        "mlp_layer_types": ["hash_moe", "moe", "moe"],
        "compress_rates": {"compressed_sparse_attention": 2, "heavily_compressed_attention": 4},
    },
    "doge": {"is_moe": True},
    "dots3_note": {
        "text_config": _DOTS3,
        "vision_config": {**_MIXED_MLP, "adapter_in_dim": 32, "adapter_out_dim": 32},
        "audio_config": {"adapter_input_size": 32, "adapter_out_dim": 32},
    },
    "dots3_note_text": _DOTS3,
    "falcon_h1": {"mamba_d_ssm": 64},
    "flint": {"mlp_only_layers": [0], **_SLIDING},
    "gemma2": _SLIDING,
    "gemma3_text": _SLIDING,
    "gemma3n_text": {
        "num_hidden_layers": 3,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "activation_sparsity_pattern": [0.5, 0.0, 0.0],
        "num_kv_shared_layers": 1,
    },
    "gemma4": {"text_config": _GEMMA4},
    "gemma4_text": _GEMMA4,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {**_LINEAR, "position_embedding_type": "rope"},
    "inkling2_text": {"layer_types": ["hybrid_sliding", "hybrid"], "d_rel": 4, "rel_extent": 8},
    "inkling_text": {
        "layer_types": ["hybrid_sliding", "hybrid"],
        "d_rel": 4,
        "rel_extent": 8,
        **_MIXED_MLP,
    },
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": _LINEAR,
    "lfm2": {"full_attn_idxs": [1], "block_multiple_of": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "lfm3": {
        "num_hidden_layers": 3,
        "layer_types": ["conv", "sliding_attention", "full_attention"],
    },
    "llama4": {"text_config": _LLAMA4},
    "llama4_text": _LLAMA4,
    "longcat_flash": {"head_dim": 4},
    "mamba2": {"head_dim": 16},
    "mellum": {**_SLIDING, **_MIXED_MLP},
    "minimax_m3_vl_text": {
        "layer_types": ["full_attention", "minimax_m3_sparse"],
        "index_block_size": 4,
        "index_topk_blocks": 1,
        **_MIXED_MLP,
    },
    "qwen3_5": {"text_config": _LINEAR},
    "qwen3_5_moe": {"text_config": _LINEAR},
    "qwen3_5_moe_text": _LINEAR,
    "qwen3_5_text": _LINEAR,
    "qwen3_moe": {"mlp_only_layers": [0]},
    "qwen3_next": _LINEAR,
    "qwen4_exp": {"text_config": _QWEN4},
    "qwen4_exp_text": _QWEN4,
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "reformer": {
        "attn_layers": ["local", "lsh"],
        "axial_pos_shape": [8, 8],
        "axial_pos_embds_dim": [16, 16],
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "num_buckets": 2,
        "hash_seed": 1,
    },
    "rwkv": {"rescale_every": 0},
    "xmod": {"default_language": "en_XX"},
    "zamba": _ZAMBA,
    "zamba2": {**_ZAMBA, "use_shared_attention_adapter": True, "adapter_rank": 4},
    "zaya": {"num_experts_per_tok": 1, "layer_types": ["hybrid", "hybrid_sliding"]},
}
"""Further keys of a config by name of the architecture."""

EXCLUDED: dict[str, str] = {
    "gemma3n": "needs the packages timm and pillow for its vision tower",
    "gemma4_assistant": "drafts for another model, and needs that model's keys and values",
    "gemma4_unified_assistant": "drafts for another model, and needs that model's keys and values",
    "musicgen": "predicts audio codes, not text",
    "musicgen_melody": "predicts audio codes, not text",
}
"""Architectures that cannot be built small and run on text alone, and why."""
