"""The benchmarks: what each is called, how many questions it has, and how many of them a guess gets right.

Splits and numbers of questions are those of the paper's Table 3, and of OLMES for BoolQ and Winogrande.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """`chance` is the accuracy of guessing, `split` the one that is scored, `items` its number of questions.

    `primary` is the accuracy that is reported as the benchmark's: of the answer that is likeliest per character, or
    simply likeliest. `longest_answer` is the longest choice in RC, in tokens of OLMo 2's tokenizer.
    """

    title: str
    split: str
    items: int
    chance: float
    longest_answer: int
    primary: str = "acc_per_char"


BENCHMARKS = {
    "mmlu": Benchmark(title="MMLU", split="test", items=14042, chance=0.25, longest_answer=187),
    "hellaswag": Benchmark(title="HellaSwag", split="val", items=10042, chance=0.25, longest_answer=80),
    "arc_challenge": Benchmark(title="ARC-Challenge", split="test", items=1172, chance=0.25, longest_answer=46),
    "arc_easy": Benchmark(title="ARC-Easy", split="test", items=2376, chance=0.25, longest_answer=27),
    "piqa": Benchmark(title="PIQA", split="val", items=1838, chance=0.5, longest_answer=234),
    "csqa": Benchmark(title="CommonsenseQA", split="val", items=1221, chance=0.2, longest_answer=8),
    "socialiqa": Benchmark(title="Social IQa", split="val", items=1954, chance=1 / 3, longest_answer=33),
    "openbookqa": Benchmark(title="OpenBookQA", split="test", items=500, chance=0.25, longest_answer=17),
    "boolq": Benchmark(title="BoolQ", split="val", items=3270, chance=0.5, longest_answer=1, primary="acc_raw"),
    "winogrande": Benchmark(
        title="Winogrande", split="val", items=1267, chance=0.5, longest_answer=20, primary="acc_raw"
    ),
}

LONGEST_PROMPT = 3082  # of the paper's eight with five examples, its answer included: MMLU in MC, as `longest_answer`

# lm-evaluation-harness's names: ours, where they differ. The questions are the same, the prompts those of OLMES.
LM_EVAL_NAMES = {
    "commonsense_qa": "csqa",
    "social_iqa": "socialiqa",
    "humaneval": "codex_humaneval",
    "mbpp": "codex_mbpp",
    "lambada_openai": "lambada",
    "nq_open": "naturalqs_open",
    "squad_completion": "squad",
    "minerva_math500": "minerva_math_500",
    "minerva_math_counting_and_prob": "minerva_math_counting_and_probability",
    "minerva_math_num_theory": "minerva_math_number_theory",
    "qasper_bool": "qasper_yesno",
}

# MMLU's four categories, with their numbers of questions.
MMLU_ITEMS = {"mmlu_stem": 3018, "mmlu_humanities": 4705, "mmlu_social_sciences": 3077, "mmlu_other": 3242}

MMLU_CATEGORIES = {
    "mmlu_stem": "abstract_algebra astronomy college_biology college_chemistry college_computer_science "
    "college_mathematics college_physics computer_security conceptual_physics electrical_engineering "
    "elementary_mathematics high_school_biology high_school_chemistry high_school_computer_science "
    "high_school_mathematics high_school_physics high_school_statistics machine_learning",
    "mmlu_humanities": "formal_logic high_school_european_history high_school_us_history high_school_world_history "
    "international_law jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory "
    "professional_law world_religions",
    "mmlu_social_sciences": "econometrics high_school_geography high_school_government_and_politics "
    "high_school_macroeconomics high_school_microeconomics high_school_psychology human_sexuality "
    "professional_psychology public_relations security_studies sociology us_foreign_policy",
    "mmlu_other": "anatomy business_ethics clinical_knowledge college_medicine global_facts human_aging management "
    "marketing medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology",
}
MMLU_SUBJECTS = {subject: category for category, names in MMLU_CATEGORIES.items() for subject in names.split()}
