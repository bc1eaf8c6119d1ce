"""Dense evaluation: Dice and HD95 against complete labels, whatever the training labels were."""

from nnunetv2_pclmix.evaluation.dataset_labels import DatasetLabels, find_dataset_json, read_dataset_labels
from nnunetv2_pclmix.evaluation.folder import evaluate_folder
from nnunetv2_pclmix.evaluation.report import DenseEvaluation

__all__ = ["DatasetLabels", "DenseEvaluation", "evaluate_folder", "find_dataset_json", "read_dataset_labels"]
