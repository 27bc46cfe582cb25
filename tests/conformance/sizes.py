"""Small values for the many spellings of a config's sizes."""

from __future__ import annotations

from typing import Any

VOCABULARY = 97
BLOCKS = 2
HIDDEN = 32
HEADS = 4
WINDOW = 4


def _all(value: Any, *names: str) -> dict[str, Any]:
    return dict.fromkeys(names, value)


SIZES: dict[str, Any] = {
    **_all(VOCABULARY, "vocab_size", "decoder_vocab_size", "vocab_size_per_layer_input"),
    **_all(0, "pad_token_id"),
    **_all(1, "bos_token_id", "decoder_start_token_id"),
    **_all(2, "eos_token_id", "sep_token_id", "forced_eos_token_id"),
    **_all(HIDDEN, "hidden_size", "n_embd", "d_model", "embedding_dim", "dim_model", "emb_dim"),
    **_all(HIDDEN, "hidden_size_global"),
    **_all(HIDDEN, "attention_hidden_size", "lru_width", "word_embed_proj_dim"),
    **_all(24, "embedding_size", "input_embedding_size", "output_embedding_size"),
    **_all(BLOCKS, "num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_blocks"),
    **_all(BLOCKS, "decoder_layers", "encoder_layers", "num_decoder_layers", "num_encoder_layers"),
    **_all(HEADS, "num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"),
    **_all(HEADS, "decoder_attention_heads", "encoder_attention_heads"),
    **_all(HEADS, "num_decoder_attention_heads", "num_encoder_attention_heads"),
    **_all(HEADS, "linear_num_heads", "swa_num_attention_heads"),
    **_all(2, "num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads"),
    **_all(2, "num_global_key_value_heads"),
    **_all(8, "head_dim", "attention_head_size", "dim_head", "d_head", "kv_channels"),
    **_all(8, "global_head_dim", "swa_head_dim", "linear_head_dim", "attention_head_dim"),
    **_all(40, "intermediate_size", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim", "dim_ff"),
    **_all(40, "dff", "d_inner", "feed_forward_size", "n_inner", "ffn_hidden_size"),
    **_all(40, "intermediate_size_mlp", "dense_intermediate_size"),
    **_all(24, "moe_intermediate_size", "expert_ffn_hidden_size", "shared_intermediate_size"),
    **_all(24, "shared_expert_intermediate_size", "shared_experts_intermediate_size"),
    **_all(24, "moe_shared_expert_intermediate_size"),
    **_all(4, "num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"),
    **_all(2, "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k"),
    **_all(1, "n_shared_experts", "num_shared_experts", "moe_num_shared_experts"),
    **_all(2, "n_group", "num_expert_group", "zero_expert_num"),
    **_all(1, "topk_group", "first_k_dense_replace", "num_dense_layers"),
    **_all(12, "q_lora_rank", "o_lora_rank"),
    **_all(8, "kv_lora_rank", "v_head_dim", "index_head_dim"),
    **_all(4, "qk_rope_head_dim"),
    **_all(6, "qk_nope_head_dim"),
    **_all(2, "index_n_heads", "index_topk", "o_groups"),
    **_all(2, "linear_num_key_heads"),
    **_all(4, "linear_num_value_heads"),
    **_all(8, "linear_key_head_dim", "linear_value_head_dim"),
    **_all(3, "linear_conv_kernel_dim", "mamba_d_conv", "conv_kernel", "conv_L_cache"),
    **_all(3, "conv_kernel_size", "conv1d_width", "short_conv_kernel_size"),
    **_all(4, "mamba_d_state", "state_size", "ssm_state_size"),
    **_all(2, "mamba_expand", "expand"),
    **_all(8, "mamba_n_heads", "mamba_d_head", "n_mamba_heads", "mamba_headdim"),
    **_all(8, "mamba_num_heads", "mamba_head_dim"),
    **_all(2, "mamba_n_groups", "mamba_ngroups", "n_groups"),
    **_all(3, "time_step_rank", "mamba_dt_rank"),
    **_all(4, "mamba_chunk_size", "chunk_size", "block_size"),
    **_all(WINDOW, "sliding_window", "attention_window_size", "window_size", "local_attention"),
    **_all(WINDOW, "attention_chunk_size", "sliding_window_size", "keep_window_size"),
    **_all(64, "max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"),
    **_all(64, "max_target_positions", "max_source_positions", "context_length"),
    **_all(64, "original_max_position_embeddings", "model_max_length"),
    **_all(4, "rotary_dim"),
    **_all(8, "hidden_size_per_layer_input", "query_pre_attn_scalar", "laurel_rank"),
    **_all(16, "image_size", "router_hidden_size", "backbone_hidden_size"),
    **_all(8, "patch_size"),
    **_all(True, "is_decoder", "causal"),
    **_all(False, "use_cache"),
}
"""By key of a config; a key is set where a config class has it."""
