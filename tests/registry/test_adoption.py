"""What people made with MLflow itself becomes ours: a run's artefact by copy, a registered version in place."""

from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression

from contracts.errors import IntegrityError, InvalidInput, NotFound, NotPermitted
from contracts.ids import VersionId, VersionRef
from registry.catalogue import Lineage, Registration
from registry.mlflow_catalogue import MlflowCatalogue

# MLflow warns of its own type hints while it is imported.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*Any type hint is inferred:UserWarning",
    "ignore::FutureWarning:mlflow",
)

MODEL_CODE = """
import mlflow

class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: list[str]) -> list[str]:
        return model_input

mlflow.models.set_model(Echo())
"""


@pytest.fixture(autouse=True)
def store(home: Path, catalogue: MlflowCatalogue) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{home}/mlflow.db")
    mlflow.set_registry_uri(f"sqlite:///{home}/mlflow.db")
    if mlflow.get_experiment_by_name("mine") is None:
        mlflow.create_experiment("mine", artifact_location=(home / "mine").as_uri())
    mlflow.set_experiment("mine")


def test_an_artefact_of_a_run_becomes_a_version_and_stays_where_it_is(
    catalogue: MlflowCatalogue, client: MlflowClient, model: Path
) -> None:
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(model), "pipeline")
    directory = catalogue.run_directory(run.info.run_id, "pipeline")
    record = catalogue.register("from-run", Registration(directory, lineage=Lineage(run=run.info.run_id)))
    assert record.lineage.run == run.info.run_id
    fetched = catalogue.fetch(record.id)
    assert fetched != directory
    assert sorted(path.name for path in fetched.rglob("*")) == sorted(path.name for path in directory.rglob("*"))


@pytest.mark.parametrize("path", ["../..", "/etc", "a/../../b"])
def test_a_path_that_leaves_the_run_is_refused(catalogue: MlflowCatalogue, path: str) -> None:
    with pytest.raises(InvalidInput):
        catalogue.run_directory("whatever", path)
    with pytest.raises(NotFound):
        catalogue.run_directory("0" * 32, "pipeline")


def test_code_is_adopted_only_when_an_approver_waives_its_digest(
    catalogue: MlflowCatalogue, client: MlflowClient, model: Path, tmp_path: Path
) -> None:
    code = tmp_path / "echo.py"
    code.write_text(MODEL_CODE)
    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            name="echo",
            python_model=str(code),
            artifacts={"pipeline": str(model)},
            registered_model_name="echo",
            pip_requirements=["mlflow"],
        )
    version = VersionId("echo", 1)
    before = client.get_model_version("echo", "1")
    with pytest.raises(NotPermitted, match=r"echo\.py") as refusal:
        catalogue.adopt(version)
    assert "mlmodel.loader" in refusal.value.message
    assert client.get_model_version("echo", "1").tags == before.tags
    digest = next(word for word in refusal.value.hint.split() if word.startswith("sha256:"))
    catalogue.journal.write_waiver(digest, actor="ada", reason="read line by line")
    record = catalogue.adopt(version)
    assert (record.id, record.digest) == (version, digest)
    assert client.get_model_version("echo", "1").source == before.source
    assert (catalogue.fetch(version) / "MLmodel").is_file()
    assert catalogue.adopt(version) == record
    (catalogue.fetch(version) / "echo.py").write_text(MODEL_CODE + "# more")
    with pytest.raises(IntegrityError, match=r"echo\.py"):
        catalogue.fetch(version)


def test_a_model_of_listed_formats_is_adopted_unwaived(catalogue: MlflowCatalogue, client: MlflowClient) -> None:
    fitted = LogisticRegression().fit(np.array([[0.0], [1.0]]), np.array([0, 1]))
    with mlflow.start_run():
        mlflow.sklearn.log_model(fitted, name="odds", registered_model_name="odds", pip_requirements=["scikit-learn"])
    with pytest.raises(NotFound, match="was not registered here"):
        catalogue.get(VersionRef("odds", number=1))
    assert catalogue.adopt(VersionId("odds", 1)).size_bytes > 0
    assert (catalogue.fetch(VersionId("odds", 1)) / "model.skops").is_file()
    with pytest.raises(NotFound):
        catalogue.adopt(VersionId("odds", 2))


def test_a_version_whose_source_or_digest_was_edited_is_not_handed_out(
    catalogue: MlflowCatalogue, client: MlflowClient, model: Path
) -> None:
    one = catalogue.register("edited", Registration(model)).id
    (model / "other.txt").write_text("other")
    two = catalogue.register("edited", Registration(model))
    client.set_model_version_tag("edited", "1", "roost.digest", two.digest)
    with pytest.raises(IntegrityError, match="digest of edited@1 was changed"):
        catalogue.fetch(one)
