"""Child process: the error rates of a line's gates, from what the base (and a champion) say to the evaluation sets.

The base's answers are kept: the evaluation that follows the training finds them in the store.
"""

from dagster_pipes import PipesContext

from llm_assets.child import Json, serve
from llm_assets.evaluation.calibration import RUNS, calibrate
from llm_assets.evaluation.evaluate import Evaluator
from llm_assets.evaluation.plots import calibration_plot
from llm_assets.evaluation.policy import evaluation_policy
from llm_assets.evaluation.request import CalibrationRequest
from llm_assets.plots import png
from llm_assets.records.evaluation import GateCalibration


def work(request: Json, pipes: PipesContext) -> Json:
    """The child's work, see `resources/compute.py`."""
    parsed = CalibrationRequest.model_validate(request)
    evaluator = Evaluator(parsed, pipes.log.info)
    judge = evaluator.judging.before()
    measured, _ = evaluator.measured()
    gates = calibrate(parsed.line, measured)
    pipes.log.info(f"calibration: at least {RUNS} simulated models of each kind judged by {len(gates)} gates")
    policy = evaluation_policy(parsed.line)
    plot = parsed.store.put_files({"calibration.png": png(calibration_plot(gates))})
    return GateCalibration(
        **parsed.identity.content(), policy=policy, runs=RUNS, gates=gates, judge_status=judge, plot=plot
    ).content()


if __name__ == "__main__":
    serve(work)
