"""After training: nnU-Net's validation predictions against the dense references, where there are any."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from nnunetv2.configuration import default_num_processes
from nnunetv2.paths import nnUNet_raw

from nnunetv2_pclmix.evaluation import evaluate_folder
from nnunetv2_pclmix.evaluation.report import CSV_NAME, JSON_NAME
from scribble_conversion.console import UserError

DENSE_FOLDER = "labelsTr_dense"  # beside labelsTr in the raw dataset; written by nnUNetv2_convert_scribbles
SCRIBBLES_ONLY = "the Mean Validation Dice above is nnU-Net's own figure and looks at scribbled voxels only"


def judge_validation(output_folder: Path, dataset_name: str, dataset_json: dict[str, Any]) -> list[str]:
    """Evaluate ``output_folder/validation`` against ``labelsTr_dense`` of the raw dataset.

    Writes ``dense_evaluation.json`` and ``.csv`` into ``output_folder/validation``; those of an earlier validation go
    in any case. Predictions without a reference are not judged. Never raises for missing references, a full disk, too
    little memory or a killed worker: a training must not fail after its last step.

    Args:
        output_folder: the fold's results folder.
        dataset_name: nnU-Net's name of the dataset.
        dataset_json: its dataset.json.

    Returns:
        Lines for the log: the table, or why there is none.
    """
    validation = output_folder / "validation"
    for name in (JSON_NAME, CSV_NAME):
        (validation / name).unlink(missing_ok=True)
    if not nnUNet_raw.is_set():
        return [f"No dense evaluation: nnUNet_raw is not set. Mind that {SCRIBBLES_ONLY}."]
    references = Path(nnUNet_raw.get()) / dataset_name / DENSE_FOLDER
    if not references.is_dir():
        return [f"No dense evaluation: there is no folder {references}. Mind that {SCRIBBLES_ONLY}."]
    try:
        result = evaluate_folder(
            validation,
            references,
            dataset_json["labels"],
            file_ending=dataset_json["file_ending"],
            num_processes=default_num_processes,
            progress=False,
            require_references=False,
        )
        result.write(validation)
    except (UserError, OSError, BrokenProcessPool, MemoryError) as error:
        return [f"No dense evaluation: {error or 'too little memory'}. Mind that {SCRIBBLES_ONLY}."]
    return [f"Dense evaluation against {references}; {SCRIBBLES_ONLY}.", f"\n{result.table()}"]
