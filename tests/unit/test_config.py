"""One file, every problem at once, variables on top."""

from pathlib import Path

import pytest

from springtide.cli import build, scaled
from springtide.cli.served import served_models
from springtide.cli.worker_main import WorkerSpec
from springtide.cli.worker_specs import worker_spec
from springtide.config import Config, load_config
from springtide.domain.errors import ConfigError
from springtide.domain.ids import ModelName, TenantId, WorkerId
from springtide.domain.tenant import Discipline, Tenant
from springtide.policy.elastic.view import PoolView
from springtide.policy.retry import RetrySettings


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("SPRINGTIDE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write(folder: Path, text: str) -> Path:
    path = folder / "springtide.toml"
    path.write_text(text)
    return path


def test_no_file_at_all_is_a_working_set_up() -> None:
    config = load_config()
    assert set(config.models) == {
        "concat",
        "digital-human",
        "loudness",
        "matting",
        "restore",
        "speech",
        "subtitles",
        "synthetic",
        "thumbnail",
        "transcode",
        "upscale",
        "video",
        "watermark",
        "what-if",
    }
    assert config.server.host == "127.0.0.1"
    assert config.ledger_url == f"sqlite:///{config.server.data_dir / 'springtide.db'}"


def test_every_problem_is_told_at_once_with_key_and_value(tmp_path: Path) -> None:
    path = write(tmp_path, '[server]\nport = 70000\nhots = "x"\n[models.a]\nengine = "synthetic"\nslots = 0\n')
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    for part in ("server.port", "70000", "server.hots", "models.a.slots", "3 problem"):
        assert part in str(caught.value)


def test_ended_jobs_are_kept_for_thirty_days_unless_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = load_config().ledger
    assert (ledger.kept_s, ledger.usage_kept_s) == (30 * 86_400, 3 * 365 * 86_400)
    ledger = load_config(write(tmp_path, '[ledger]\nkeep_s = "forever"\nkeep_usage_s = 86400\n')).ledger
    assert (ledger.kept_s, ledger.usage_kept_s) == (None, 86_400)
    monkeypatch.setenv("SPRINGTIDE_LEDGER__KEEP_S", "3600")
    assert load_config().ledger.kept_s == 3600


def test_a_variable_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, '[server]\nport = 1\nhost = "127.0.0.2"\n[models.a]\nengine = "synthetic"\nslots = 3\n')
    for name, text in {
        "SPRINGTIDE_SERVER__PORT": "9000",
        "springtide_models__a__timeout_s": "7",
        "SPRINGTIDE_MODELS__SYNTHETIC__ENGINE": "synthetic",
        "SPRINGTIDE_MODELS__SYNTHETIC__SETTINGS__FOLDER": "[1]",  # an engine's own: text
        "SPRINGTIDE_SERVER__HOST": "",  # says nothing
        "SPRINGTIDE_EGRESS__ALLOW": '["10.0.0.0/8"]',
        "SPRINGTIDE_OPENAI__ALIASES": '{"b": "a", "c": "a"}',
        "SPRINGTIDE_OPENAI__ALIASES__B": "synthetic",  # over the whole table
        "SPRINGTIDE_BLOBS__ACCESS_KEY_ID": "7",
        "SPRINGTIDE_BLOBS__SECRET_ACCESS_KEY": '{"not": "read as JSON"}',
        "SPRINGTIDE_URL": "of the client",
    }.items():
        monkeypatch.setenv(name, text)
    config = load_config()
    assert (config.server.port, config.server.host) == (9000, "127.0.0.2")
    assert (config.models["a"].slots, config.models["a"].timeout_s) == (3, 7)
    assert config.models["synthetic"].settings == {"folder": "[1]"}
    assert config.egress.allow == ["10.0.0.0/8"]
    assert config.openai.aliases == {"b": "synthetic", "c": "a"}
    assert config.blobs.secret_access_key is not None
    assert config.blobs.secret_access_key.get_secret_value() == '{"not": "read as JSON"}'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[server]\nprot = 1\n", "server.prot: there is no such key; did you mean `port`[?] [(]given: 1[)]"),
        ("[servre]\nport = 1\n", "servre: there is no such key; did you mean `server`[?]"),
        ("[models.a]\n", "models.a.engine: is required"),
        ("[models.a]\nengine = 'x'\nqqqq = 1\n", "models.a.qqqq: there is no such key; there are engine, "),
        ("[models.a]\nengine = 'x'\n[models.a.versions.2]\nslot = 2\n", "slot: there is no such key; .*`slots`"),
        ("[kubernetes.models.a]\nqueu = 1\n", "kubernetes.models.a.queu: there is no such key"),
    ],
)
def test_a_mistyped_key_brings_the_one_that_was_meant(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(write(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("SPRINGTIDE_SERVRE__PORT", "1", "servre: there is no such key; did you mean `server`"),
        ("SPRINGTIDE_SERVER__PROT", "1", "server.prot"),
        ("SPRINGTIDE_SERVER", "1", "server: .*dictionary"),
        ("SPRINGTIDE_SERVER__PORT__X", "1", "server.port"),
        ("SPRINGTIDE_EGRESS__ALLOW", "10.0.0.0/8", r"egress.allow: .*list \(given: '10.0.0.0/8'\)"),
    ],
)
def test_a_wrong_variable_is_told_under_the_key_that_it_is_meant_for(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, told: str
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match=told):
        load_config()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[server\n", "not valid TOML"),
        ('[broker]\nurl = "amqp://u:secret@h"\n', "redis://"),
        ('[models."No Good"]\nengine = "synthetic"\n', "not a model name"),
        ('[models.a]\nengine = "x"\nmin_replicas = 3\n', "above max_replicas"),
        ('[models.a]\nengine = "x"\nslots = 2\nbatch = 3\n', "above slots"),
        ("[models.a]\n", "models.a.engine"),
        ("[ledger]\nkeep_s = 5\n", "ledger.keep_s.*60"),
        ("[ledger]\nkeep_s = 'ever'\n", "ledger.keep_s.*forever"),
        ("[tenants.'a b']\n", "not a tenant's name"),
        ("[tenants.a]\nweight = 0\n", "tenants.a.weight.*0.01"),
        ("[tenants.a]\nmax_running = 0\n", "tenants.a.max_running"),
        ("[server]\ntenant_header = 'X Tenant'\n", "server.tenant_header"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(write(tmp_path, text))


def test_a_password_in_a_url_is_never_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, '[broker]\nurl = "amqp://u:secret@h"\n'))
    assert "secret" not in str(caught.value)


def test_a_missing_named_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "nowhere.toml")


def test_a_long_data_folder_gets_a_short_socket(tmp_path: Path) -> None:
    config = Config(server={"data_dir": tmp_path / ("x" * 120)})
    assert len(str(config.socket_path)) <= 100
    assert str(config.socket_path) == str(Config(server={"data_dir": tmp_path / ("x" * 120)}).socket_path)


def test_tenants_and_models_say_how_the_queues_are_shared(tmp_path: Path) -> None:
    text = """
    [models.a]
    engine = "synthetic"
    max_running = 7
    [tenants.acme]
    weight = 2.5
    max_running = 3
    max_queued = 9
    """
    config = load_config(write(tmp_path, text))
    acme = Tenant(id=TenantId("acme"), weight=2.5, max_running=3, max_queued=9)
    assert build.tenants(config) == {acme.id: acme}
    assert build.disciplines(config) == {ModelName("a"): Discipline(max_running=7, tenants=(acme,))}
    assert config.models["a"].max_queued == 100_000


RETRY = '[models.a]\nengine = "synthetic"\n[models.a.retry]\n'


def test_retries_are_paced_and_chosen_per_model(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, RETRY + 'first_s = 0.5\non = ["timed_out"]\nnever = ["out_of_memory"]\n'))
    [settings] = worker_spec(config, "a", WorkerId("w")).models
    assert settings.retry == RetrySettings(first_s=0.5, on=("timed_out",), never=("out_of_memory",))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("first_s = 10\nmost_s = 5\n", "first_s (10) is above most_s (5)"),
        ('on = ["crashed"]\nnever = ["crashed"]\n', "crashed: in `on` and in `never`"),
        ('on = ["invalid_input"]\n', "would end the same"),
        ('never = ["worker_lost"]\n', "max_attempts = 1"),
    ],
)
def test_retries_without_sense_are_refused_with_what_to_do(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, RETRY + text))
    assert told in str(caught.value)


def test_waiting_for_a_batch_of_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch is 1"):
        load_config(write(tmp_path, '[models.a]\nengine = "synthetic"\nbatch_wait_ms = 5\n'))


POOL = """
[models.a]
engine = "synthetic"
slots = 3
[models.b]
engine = "synthetic"
slots = 4
memory_mb = 500
[models.c]
engine = "synthetic"
max_replicas = 7
"""


def test_models_of_a_pool_share_its_workers_and_the_others_keep_theirs(tmp_path: Path) -> None:
    text = POOL + '[workers.shared]\nmodels = ["a", "b"]\nmemory_mb = 8000\nmin_replicas = 1\nmax_replicas = 2\n'
    config = load_config(write(tmp_path, text))
    spec = worker_spec(config, "shared", WorkerId("w"))
    assert ([model.model for model in spec.models], spec.memory_mb) == (["a", "b"], 8000)
    assert WorkerSpec.from_json(spec.to_json()) == spec
    assert worker_spec(config, "c", WorkerId("w")).memory_mb is None
    policies = scaled.policies(config)
    assert set(policies) == set(scaled.scaled(config)) == {"shared", "c"}
    crowd = PoolView(now_s=0.0, waiting=80, waiting_s=8000.0)
    assert policies[ModelName("shared")].decide(crowd, None)[0].replicas == 2
    assert policies[ModelName("shared")].decide(PoolView(now_s=0.0, waiting=0), None)[0].replicas == 1
    assert served_models(config)[ModelName("a")].max_replicas == 2


@pytest.mark.parametrize(
    ("pools", "told"),
    [
        ('[workers.p]\nmodels = ["a", "x"]\nmemory_mb = 100\n', "there is no model 'x'"),
        ('[workers.a]\nmodels = ["a"]\nmemory_mb = 100\n', "a model's name, too"),
        ('[workers.p]\nmodels = ["a", "a"]\nmemory_mb = 100\n', "named twice"),
        ('[workers.p]\nmodels = ["c"]\nmemory_mb = 100\n', "models.c sets max_replicas"),
        ('[workers.p]\nmodels = ["a"]\nmemory_mb = 1\n', "workers.p.memory_mb"),
        ('[workers."P!"]\nmodels = ["a"]\nmemory_mb = 100\n', "lower-case words"),
        (
            '[workers.p]\nmodels = ["a"]\nmemory_mb = 100\n[workers.q]\nmodels = ["a"]\nmemory_mb = 100\n',
            "is in two of them",
        ),
    ],
)
def test_pools_without_sense_are_refused_with_what_to_do(tmp_path: Path, pools: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, POOL + pools))
    assert told in str(caught.value)


def test_the_scaling_table_says_which_policies_with_which_objective(tmp_path: Path) -> None:
    text = """[models.a]
engine = "synthetic"
max_replicas = 8
idle_s = 0
[models.a.scaling]
policies = ["tide", "schedule"]
wait_s = 10
utc_offset_h = 8
[[models.a.scaling.schedule]]
days = ["mon", "tue"]
begin = "08:30"
until = "24:00"
replicas = 3
"""
    config = load_config(write(tmp_path, text))
    policy = scaled.policies(config)[ModelName("a")]
    assert (policy.name, scaled.scaled(config)[ModelName("a")].wait_s) == ("tide+schedule", 10.0)
    monday_in_china_s = 1_763_942_400.0 + 3600.0  # 2025-11-24 00:00 UTC is 08:00 there
    advice, _ = policy.decide(PoolView(now_s=monday_in_china_s, waiting=0), None)
    assert (advice.replicas, advice.reason) == (3, "SCHEDULE")
    advice, _ = policy.decide(PoolView(now_s=monday_in_china_s - 2 * 3600.0, waiting=0), None)
    assert advice.replicas == 0


@pytest.mark.parametrize(
    ("scaling", "told"),
    [
        ('policies = ["schedule"]', "only there"),
        ('policies = ["tide", "tide"]', "named twice"),
        ("share = 1.0", "0.9999"),
        ('policies = ["magic"]', "tide"),
        ('policies = ["schedule"]\nschedule = [{begin = "25:00", until = "3:00", replicas = 1}]', "begin"),
    ],
)
def test_a_scaling_table_that_makes_no_sense_is_refused(tmp_path: Path, scaling: str, told: str) -> None:
    text = f'[models.a]\nengine = "synthetic"\n[models.a.scaling]\n{scaling}\n'
    with pytest.raises(ConfigError, match=told):
        load_config(write(tmp_path, text))


FLEET = """
[fleet]
accelerators = 2
[models.video]
engine = "synthetic"
accelerators = 2
cpus = 1.5
min_replicas = 1
scaling.weight = 3
[models.small]
engine = "synthetic"
accelerators = 0.25
"""


def test_what_workers_take_of_a_limited_fleet_is_said_per_model(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, FLEET))
    assert scaled.takes(config, "video") == {"accelerators": 2.0, "cpus": 1.5}
    assert scaled.sharing(config) is not None
    assert worker_spec(config, "video", WorkerId("w")).models[0].cpus == 1.5
    assert scaled.sharing(load_config(write(tmp_path, ""))) is None, "nothing is limited unless somebody says so"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[fleet]\naccelerators = 2\n", "no model says how many accelerators"),
        (FLEET.replace("accelerators = 0.25", "accelerators = 3"), "models.small: a worker takes more accelerators"),
        (FLEET.replace("accelerators = 0.25", "accelerators = 1.5"), "neither a part of one nor a whole number"),
        (FLEET.replace("0.25", "1\nmin_replicas = 1"), "min_replicas of all models take 3 accelerators"),
    ],
)
def test_a_fleet_that_cannot_hold_its_models_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(write(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SPRINGTIDE_SERVER_PORT", "SPRINGTIDE_SERVER__PORT"),
        ("springtide_ledger_keep_s", "SPRINGTIDE_LEDGER__KEEP_S"),
        ("SPRINGTIDE_TENANT_DEFAULTS_MAX_QUEUED", "SPRINGTIDE_TENANT_DEFAULTS__MAX_QUEUED"),
        ("SPRINGTIDE_MODELS_MATTING_MAX_REPLICAS", "SPRINGTIDE_MODELS__MATTING__MAX_REPLICAS"),
        ("SPRINGTIDE_MODELS_MATTING_SCALING_WAIT_S", "SPRINGTIDE_MODELS__MATTING__SCALING__WAIT_S"),
    ],
)
def test_a_variable_that_lacks_an_underscore_is_refused_with_its_right_name(
    name: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, "5")
    with pytest.raises(ConfigError, match=f"{name}: did you mean {meant}"):
        load_config()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SPRINGTIDE_URL", "http://127.0.0.1:1"),
        ("SPRINGTIDE_LOG", "DEBUG"),
        ("SPRINGTIDE_SERVER_PORT", ""),
        ("SPRINGTIDE_SERVER_PORT", "tcp://10.0.0.7:80"),  # Kubernetes, of a Service called springtide-server
        ("SPRINGTIDE_GATEWAY_SERVICE_HOST", "10.0.0.7"),
        ("SPRINGTIDE_SERVERS", "5"),
    ],
)
def test_variables_that_are_no_settings_are_let_be(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    assert load_config().server.port == 8321
