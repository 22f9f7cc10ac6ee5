"""One process a system: it has its own memory, and is asked in turns with the others, by lines of JSON.

    python workers.py SYSTEM MODEL-FOLDER THREADS CLOCK DEVICE

SYSTEM: ours, int8, all-tokens, generate, trl, llama, floor. CLOCK: wall, or cpu: the process's own CPU
seconds, which with one thread leave out what other work on the machine takes (not what it does to caches
and memory). DEVICE: cpu (float32), or cuda (bfloat16; the clock waits until it has done what it was given,
and the peak is of its memory).

A request is a line of JSON, {"do": METHOD, …}; so is the answer. All systems get the same token ids, the same
weights in the same dtype and the same number of threads.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

Ids = Sequence[int]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
DEVICE = sys.argv[5] if len(sys.argv) > 5 else "cpu"
DTYPE = torch.bfloat16 if DEVICE == "cuda" else torch.float32
RANK = 32
LR = 1e-4


def clock() -> float:
    """Seconds by the clock that was asked for."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return CLOCKS[sys.argv[4] if len(sys.argv) > 4 else "wall"]()


def peak() -> int:
    """The most bytes that were held since `fresh_peak`: on the GPU, or by this process."""
    if DEVICE == "cuda":
        return int(torch.cuda.max_memory_allocated())
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def fresh_peak() -> None:
    """Forget the peak so far (Linux)."""
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    Path("/proc/self/clear_refs").write_text("5")


class Ours:
    """This package, as a session uses it. `acts_on`: the adapter's; completion is the default."""

    def __init__(
        self, folder: str, threads: int, acts_on: str = "completion", sampling: str = "full"
    ) -> None:
        from continualcode.core.data import Example, Objective, Optimiser, SamplingParams
        from continualcode.plugins.models.local.policy import LocalPolicy

        self._kinds = Example, Objective, Optimiser, SamplingParams
        settings = {"threads": threads, "acts_on": acts_on, "rank": RANK, "context": 16384}
        settings |= {"sampling_weights": sampling, "device": DEVICE}
        self._policy: Any = LocalPolicy(folder, settings)
        self._turns: dict[Ids, list[Any]] = {}

    def prompt(self, text: str, tokens: int, told: str) -> dict[str, list[int]]:
        """A chat of about `tokens` tokens that asks about `text`, and the same with a correction after it."""
        from continualcode.core.data import Message

        policy = self._policy
        asked = "Explain what this code does, line by line, at length.\n\n"
        low, high = 0, len(text)
        while low < high:  # as much of the text as fits
            middle = (low + high + 1) // 2
            fits = len(policy.render([Message(role="user", text=asked + text[:middle])], ())) <= tokens
            low, high = (middle, high) if fits else (low, middle - 1)
        turns = [Message(role="user", text=asked + text[:low])]
        student = policy.render(turns, ())
        teacher = policy.render([*turns, Message(role="user", text=told)], ())
        self._turns[student] = turns
        return {"prompt": list(student), "teacher": list(teacher)}

    def further(self, prompt: Ids, said: Ids) -> dict[str, Any]:
        """The chat of `prompt` with the completion `said` and the user's next words: tokens given again."""
        from continualcode.core.data import Message

        policy = self._policy
        answer = Message(role="assistant", text="".join(policy.pieces(said)))
        turns = [*self._turns[tuple(prompt)], answer, Message(role="user", text="And what would you change?")]
        longer = policy.render(turns, ())
        return {"again": self.turn(longer, 1)["computed"] - (len(longer) - len(prompt))}

    def forget(self) -> dict[str, Any]:
        """As if nothing had been read and nothing learned."""
        policy = self._policy
        policy.reset()
        pieces = policy._prefix._pieces
        pieces.__init__(pieces._most, pieces._begins, pieces._size)
        policy._prefix._keep(0)
        return {}

    def decode(self, prompt: Ids, tokens: int, temperature: float = 0.0) -> dict[str, Any]:
        """Draw from nothing read: time to the first token, and the others."""
        self.forget()
        return self.turn(prompt, tokens, temperature)

    def turn(self, prompt: Ids, tokens: int, temperature: float = 0.0) -> dict[str, Any]:
        """Draw, with what is known of the prompt."""
        params = self._kinds[3](max_tokens=tokens, temperature=temperature)
        before = self._policy._prefix.computed
        stamps = [clock()]
        drawn = self._policy.sample(prompt, None, params, lambda _: stamps.append(clock()))
        count, whole = len(drawn.token_ids), clock() - stamps[1]
        return {
            "first": stamps[1] - stamps[0],
            "rate": (count - 1) / whole if count > 1 else 0.0,
            "ids": list(drawn.token_ids),
            "computed": self._policy._prefix.computed - before,
        }

    def update(self, prompt: Ids, teacher: Ids, completion: Ids, steps: int, known: bool) -> dict[str, Any]:
        """Score the teacher, take the steps, be ready to sample. `known`: the prompt was sampled from."""
        example_of, objective_of, optimiser_of, _ = self._kinds
        self.forget()
        if known:
            self.turn(prompt, 1)
        example = example_of(
            correction="c",
            sample="s",
            prompt_ids=tuple(prompt),
            teacher_ids=tuple(teacher),
            completion_ids=tuple(completion),
            sampled_logprobs=(),
            temperature=1.0,
            grammar=None,
            part="demonstration",
        )
        objective = objective_of(divergence="forward_kl", teacher="base", aggregation="token_mean")
        fresh_peak()
        began = clock()
        batch = self._policy.prepare([example], objective, optimiser_of(lr=LR))
        losses = [self._policy.step(batch, stop_below=0.0).loss for _ in range(steps)]
        took = clock() - began
        ready = self.turn(prompt, 1)["first"] if known else 0.0
        return {
            "seconds": took,
            "ready": ready,
            "losses": losses,
            "peak": peak(),
            "digest": self._policy.weights(),
        }


class AllTokens(Ours):
    """Ours with LoRA on every token, which is what the others compute."""

    def __init__(self, folder: str, threads: int) -> None:
        super().__init__(folder, threads, "all")


class InInt8(Ours):
    """Ours, sampling from weights in int8."""

    def __init__(self, folder: str, threads: int) -> None:
        super().__init__(folder, threads, sampling="int8")


def loaded(folder: str) -> Any:
    """The model as transformers loads it."""
    from transformers import AutoModelForCausalLM

    untyped: Any = AutoModelForCausalLM
    return untyped.from_pretrained(folder, dtype=DTYPE, attn_implementation="sdpa").to(DEVICE).eval()


class Generate:
    """transformers' own `generate`, greedy, with its dynamic cache; no adapter."""

    def __init__(self, folder: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._model = loaded(folder)

    def decode(self, prompt: Ids, tokens: int) -> dict[str, Any]:
        """Time to the first token, and the others."""
        ids = torch.tensor([list(prompt)], device=DEVICE)
        stamps: list[float] = []

        class Clock:
            """Sees each token as it comes: the prompt first."""

            def put(self, _: Any) -> None:
                stamps.append(clock())

            def end(self) -> None:
                pass

        with torch.inference_mode():
            self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
                streamer=Clock(),
            )
        began, first, last = stamps[0], stamps[1], stamps[-1]
        return {"first": first - began, "rate": (len(stamps) - 2) / (last - first)}


class Trl:
    """TRL's SDPOTrainer: its loss, its teacher (the base model), its forward passes, AdamW; no generation."""

    def __init__(self, folder: str, threads: int) -> None:
        import warnings

        warnings.simplefilter("ignore")
        from datasets import Dataset
        from peft import LoraConfig
        from transformers import AutoTokenizer
        from trl.experimental.sdpo import SDPOConfig, SDPOTrainer

        torch.set_num_threads(threads)
        untyped: Any = AutoTokenizer
        args = SDPOConfig(
            output_dir=tempfile.mkdtemp(),
            use_cpu=DEVICE == "cpu",
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            distillation_weight=1.0,
            distillation_mode="full_logits",
            distillation_alpha=0.0,
            teacher_model_kind="base",
            per_device_train_batch_size=2,
            num_generations=2,
            temperature=1.0,
        )
        self._trainer: Any = SDPOTrainer(
            model=loaded(folder),
            reward_funcs=lambda **_: [0.0],
            args=args,
            train_dataset=Dataset.from_list([{"prompt": "x"}] * 2),
            processing_class=untyped.from_pretrained(folder),
            peft_config=LoraConfig(
                r=RANK, lora_alpha=RANK, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
        )
        self._trainer.current_gradient_accumulation_steps = 1
        self._untrained = {n: p.detach().clone() for n, p in self._trained()}

    def _trained(self) -> list[tuple[str, Any]]:
        return [(n, p) for n, p in self._trainer.model.named_parameters() if p.requires_grad]

    def update(self, prompt: Ids, teacher: Ids, completion: Ids, steps: int, known: bool) -> dict[str, Any]:
        """The steps of one batch of one row."""
        model = self._trainer.model.train()
        with torch.no_grad():
            for name, parameter in self._trained():
                parameter.copy_(self._untrained[name])
        inputs = {
            "prompt_ids": torch.tensor([list(prompt)]),
            "completion_ids": torch.tensor([list(completion)]),
            "teacher_input_ids": torch.tensor([[*teacher, *completion]]),
        }
        inputs |= {
            "prompt_mask": torch.ones_like(inputs["prompt_ids"]),
            "completion_mask": torch.ones_like(inputs["completion_ids"]),
            "teacher_attention_mask": torch.ones_like(inputs["teacher_input_ids"]),
        }
        inputs = {name: tensor.to(DEVICE) for name, tensor in inputs.items()}
        optimiser = torch.optim.AdamW(
            [p for _, p in self._trained()], lr=LR, betas=(0.9, 0.95), weight_decay=0.0
        )
        fresh_peak()
        began, losses = clock(), list[float]()
        for _ in range(steps):
            loss = self._trainer.compute_loss(model, inputs)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([p for _, p in self._trained()], 1.0)
            optimiser.step()
            optimiser.zero_grad()
            losses.append(float(loss.detach()))
        return {"seconds": clock() - began, "ready": 0.0, "losses": losses, "peak": peak()}


class Llama:
    """llama.cpp through xllamacpp, on the GGUF that the embedded model was decoded from: 4-bit weights."""

    def __init__(self, file: str, threads: int) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path, params.n_ctx, params.n_parallel, params.verbosity = file, 8704, 1, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        self._server: Any = xllamacpp.Server(params)

    def decode(self, prompt: Ids, tokens: int) -> dict[str, Any]:
        """Greedy, from nothing read."""
        asked = {"prompt": list(prompt), "max_tokens": tokens, "temperature": 0.0, "stream": True}
        began, stamps = clock(), list[float]()
        told = {"ignore_eos": True, "cache_prompt": False}
        self._server.handle_completions(asked | told, lambda _: stamps.append(clock()))
        *said, _ = stamps  # the last is the answer's end
        return {"first": said[0] - began, "rate": (len(said) - 1) / (said[-1] - said[0])}


class Floor:
    """What the machine can do, measured: matrix products of the model's own shapes, and reading memory."""

    def __init__(self, folder: str, threads: int) -> None:
        torch.set_num_threads(threads)
        config = json.loads((Path(folder) / "config.json").read_text())
        self._wide, self._inner = config["hidden_size"], config["intermediate_size"]
        self._tokens = 4096 if DEVICE == "cuda" else 512
        self._long = torch.randn(2**30 // DTYPE.itemsize, dtype=DTYPE, device=DEVICE)  # larger than any cache

    def flops(self) -> dict[str, Any]:
        """FLOP a second of many tokens through one of its matrices, the best of 5."""
        tokens, weights = (self._long[: n * self._wide].view(n, -1) for n in (self._tokens, self._inner))
        best = float("inf")
        for _ in range(5):
            began = clock()
            for _ in range(4):
                torch.nn.functional.linear(tokens, weights)
            best = min(best, clock() - began)
        return {"rate": 4 * 2 * self._tokens * self._wide * self._inner / best}

    def bandwidth(self) -> dict[str, Any]:
        """Bytes a second read by a sum, and by a matrix times a vector; the faster one, the best of 3."""
        matrix = self._long.view(-1, 1024)
        vector = matrix[:1].clone()
        best = float("inf")
        for _ in range(3):
            for work in (self._long.sum, lambda: torch.nn.functional.linear(vector, matrix)):
                began = clock()
                work()
                best = min(best, clock() - began)
        return {"rate": self._long.nbytes / best}


SYSTEMS: dict[str, Any] = {
    "ours": Ours,
    "all-tokens": AllTokens,
    "int8": InInt8,
    "generate": Generate,
    "trl": Trl,
    "llama": Llama,
    "floor": Floor,
}


def main() -> None:
    """Answer requests until stdin ends."""
    system, folder, threads = sys.argv[1:4]
    began = clock()
    out = sys.stdout
    sys.stdout = sys.stderr  # whoever prints, prints elsewhere
    worker = SYSTEMS[system](folder, int(threads))
    print(json.dumps({"loaded": clock() - began}), file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(worker, request.pop("do"))(**request)
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
