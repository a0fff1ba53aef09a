"""Every key does something: for each there is a test that shows what, and code that reads it.

`SHOWN` names the tests, of a running gate where there is one, else of the part that the key is for. A key that is only
a way to others (`routes`, `backends.NAME.pool`) is shown by what is below it.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from h2gate.config.model import Config
from h2gate.config.model_base import keys_of
from tests.config.keys import entries_of
from tests.config.test_wording import models_in

ROOT = Path(__file__).parents[2]
KEYS = {path for path, _ in entries_of(Config)}
# Keys that stand for what is below them.
WAYS = {path for path in KEYS if any(key.startswith((f"{path}.", f"{path}[]")) for key in KEYS)}

BACKEND, CLI, CONFIG, FRONTEND = "tests/backend/", "tests/cli/", "tests/config/", "tests/frontend/"
GATEWAY, MASTER, PROCESS, PROXY = "tests/gateway/", "tests/master/", "tests/process/", "tests/proxy/"
LIMITS, PAGES = f"{GATEWAY}test_limits.py::", f"{GATEWAY}test_error_pages.py::"
POOL, REWRITING = f"{GATEWAY}test_pool.py::", f"{GATEWAY}test_rewriting.py::"
EFFECTS = f"{GATEWAY}test_config_effects.py::"

SHOWN: dict[str, str | None] = {
    "workers": f"{MASTER}test_plan.py::test_a_number_of_workers_is_that_number",
    "engine": f"{CLI}test_engine.py::test_a_reload_changes_the_engine",
    "user": f"{PROCESS}test_start.py::test_workers_drop_to_the_user_and_the_log_becomes_theirs",
    "pidfile": f"{PROCESS}test_start.py::test_the_pidfile_names_the_master_and_goes_with_it",
    "control": f"{CLI}test_gate.py::test_status_shows_listeners_and_workers",
    "listeners[].address": f"{PROCESS}test_start.py::test_tcp_v4_v6_and_unix_listeners_serve_side_by_side",
    "listeners[].tls.certificates[].cert": f"{GATEWAY}test_tls.py::test_the_certificate_is_chosen_by_the_servers_name",
    "listeners[].tls.certificates[].key": f"{GATEWAY}test_tls.py::test_the_certificate_is_chosen_by_the_servers_name",
    "listeners[].tls.min_version": f"{EFFECTS}test_a_client_below_the_lowest_version_is_not_served",
    "listeners[].tls.client_ca": f"{GATEWAY}test_client_certificates.py::"
    "test_the_backend_is_told_the_verified_identity",
    "listeners[].tls.client_auth": f"{GATEWAY}test_client_certificates.py::"
    "test_where_it_is_optional_a_client_without_one_is_served_and_nothing_is_told",
    "listeners[].trusted_proxies": f"{GATEWAY}test_routing.py::test_a_trusted_proxy_is_believed_and_added_to",
    "listeners[].proxy_protocol": f"{GATEWAY}test_proxy_protocol.py::test_the_client_is_whom_the_header_tells",
    "listeners[].backlog": f"{MASTER}test_sockets.py::test_a_listener_has_the_backlog_of_its_config",
    "backends.NAME.endpoints[].url": f"{BACKEND}test_dial.py::test_every_kind_of_address_is_reached",
    "backends.NAME.endpoints[].weight": f"{BACKEND}test_balancer.py::test_every_endpoint_gets_its_weight_of_each_round",
    "backends.NAME.balance": f"{BACKEND}test_backend.py::test_least_requests_counts_those_that_wait_too",
    "backends.NAME.tls.ca": f"{GATEWAY}test_tls.py::test_server_name_is_what_is_verified_and_asked_for",
    "backends.NAME.tls.verify": f"{GATEWAY}test_tls.py::"
    "test_a_certificate_of_an_unknown_authority_is_502_unless_verification_is_off",
    "backends.NAME.tls.server_name": f"{GATEWAY}test_tls.py::test_server_name_is_what_is_verified_and_asked_for",
    "backends.NAME.tls.client_cert": f"{GATEWAY}test_backend_tls.py::test_the_client_certificate_is_shown_and_taken",
    "backends.NAME.tls.client_key": f"{GATEWAY}test_backend_tls.py::test_the_client_certificate_is_shown_and_taken",
    "backends.NAME.tls.min_version": f"{GATEWAY}test_backend_tls.py::test_each_failure_of_tls_has_its_own_words",
    "backends.NAME.tls.crl": f"{GATEWAY}test_backend_tls.py::test_each_failure_of_tls_has_its_own_words",
    "backends.NAME.pool.max_connections": f"{GATEWAY}test_sharing.py::"
    "test_a_backend_that_runs_one_stream_at_a_time_gets_one_at_a_time",
    "backends.NAME.pool.target_streams": f"{BACKEND}test_pool.py::"
    "test_requests_share_connections_past_the_target_and_up_to_the_limits",
    "backends.NAME.pool.max_streams": f"{GATEWAY}test_sharing.py::"
    "test_a_backend_that_runs_one_stream_at_a_time_gets_one_at_a_time",
    "backends.NAME.pool.queue": f"{GATEWAY}test_failures.py::test_a_full_queue_is_503_at_once",
    "backends.NAME.pool.queue_timeout": f"{GATEWAY}test_failures.py::"
    "test_a_request_that_waits_too_long_for_a_stream_is_503",
    "backends.NAME.pool.connect_timeout": f"{GATEWAY}test_bad_backends.py::test_a_backend_without_settings_is_504",
    "backends.NAME.pool.idle_timeout": f"{POOL}test_idle_connections_are_closed_but_for_one_that_stays_warm",
    "backends.NAME.pool.max_requests": f"{POOL}test_a_connection_drains_after_its_requests",
    "backends.NAME.pool.max_age": f"{POOL}test_a_connection_drains_at_its_age_and_finishes_what_runs",
    "backends.NAME.pool.preconnect": f"{POOL}test_a_connection_is_there_before_the_first_request_if_wanted",
    "backends.NAME.pool.stream_window": f"{EFFECTS}test_a_backend_is_told_the_windows_of_its_pool",
    "backends.NAME.pool.connection_window": f"{EFFECTS}test_a_backend_is_told_the_windows_of_its_pool",
    "backends.NAME.pool.ping_after": f"{POOL}test_a_live_connection_gets_the_body_as_soon_as_it_has_answered",
    "backends.NAME.pool.ping_timeout": f"{EFFECTS}test_a_ping_without_an_answer_sends_the_body_elsewhere",
    "backends.NAME.pool.ping_interval": f"{POOL}"
    "test_an_idle_connection_is_asked_at_the_interval_and_dropped_if_it_is_dead",
    "backends.NAME.pool.source_address": f"{POOL}test_connections_come_from_the_source_address",
    "routes[].match.host": f"{GATEWAY}test_routing.py::test_a_host_of_its_own_comes_first",
    "routes[].match.path": f"{GATEWAY}test_routing.py::test_the_matched_prefix_is_replaced_by_the_backends_path",
    "routes[].match.methods": f"{GATEWAY}test_routing.py::test_a_method_that_no_route_takes_is_405_and_says_which_are",
    "routes[].match.headers": f"{REWRITING}test_fields_and_parameters_choose_a_route",
    "routes[].match.query": f"{REWRITING}test_fields_and_parameters_choose_a_route",
    "routes[].backend": f"{GATEWAY}test_routing.py::test_the_matched_prefix_is_replaced_by_the_backends_path",
    "routes[].weights": f"{REWRITING}test_weights_send_requests_to_each_backend",
    "routes[].respond.status": f"{PROXY}test_exchange.py::test_respond_and_redirect_answer_without_a_backend",
    "routes[].respond.body": f"{PROXY}test_exchange.py::test_respond_and_redirect_answer_without_a_backend",
    "routes[].redirect.to": f"{GATEWAY}test_routing.py::test_a_redirect_keeps_path_and_query",
    "routes[].redirect.status": f"{PROXY}test_exchange.py::test_respond_and_redirect_answer_without_a_backend",
    "routes[].preserve_host": f"{GATEWAY}test_routing.py::test_preserve_host_sends_the_clients_authority",
    "routes[].rewrite.prefix": f"{REWRITING}test_a_path_is_rewritten_for_the_backend",
    "routes[].rewrite.regex": f"{REWRITING}test_a_path_is_rewritten_for_the_backend",
    "routes[].rewrite.to": f"{REWRITING}test_a_path_is_rewritten_for_the_backend",
    "routes[].request_headers.remove": f"{REWRITING}test_the_operators_rules_run_over_the_requests_fields",
    "routes[].request_headers.set": f"{REWRITING}test_the_operators_rules_run_over_the_requests_fields",
    "routes[].request_headers.add": f"{REWRITING}test_the_operators_rules_run_over_the_requests_fields",
    "routes[].response_headers.remove": f"{REWRITING}test_the_operators_rules_run_over_the_responses_fields",
    "routes[].response_headers.set": f"{REWRITING}test_the_operators_rules_run_over_the_responses_fields",
    "routes[].response_headers.add": f"{REWRITING}test_the_operators_rules_run_over_the_responses_fields",
    "routes[].cookie_domain": f"{REWRITING}test_cookies_get_the_domain_and_path_that_the_operator_says",
    "routes[].cookie_path": f"{REWRITING}test_cookies_get_the_domain_and_path_that_the_operator_says",
    "routes[].timeouts.request_body": f"{EFFECTS}test_a_route_has_its_own_patience_with_an_upload",
    "routes[].timeouts.response_head": f"{PROXY}test_exchange.py::test_a_routes_own_deadlines_count",
    "routes[].timeouts.response_idle": f"{PROXY}test_exchange.py::test_a_routes_own_deadlines_count",
    "routes[].timeouts.tunnel_idle": f"{EFFECTS}test_a_route_has_its_own_patience_with_a_silent_websocket",
    "routes[].retries.tries": f"{PROXY}test_exchange.py::test_a_routes_own_number_of_tries_counts",
    "routes[].max_body": f"{PROXY}test_exchange.py::test_a_body_of_just_the_limit_passes_and_a_routes_own_limit_counts",
    "routes[].error_override": f"{PAGES}test_only_the_statuses_that_are_named_are_overridden",
    "routes[].error_pages[].status": f"{PAGES}test_a_routes_own_page_comes_first",
    "routes[].error_pages[].html": f"{PAGES}test_a_routes_own_page_comes_first",
    "routes[].error_pages[].json": f"{PAGES}test_a_routes_own_page_comes_first",
    "routes[].error_pages[].text": f"{PROXY}test_router.py::"
    "test_a_routes_error_pages_come_before_those_of_the_top_level",
    "routes[].mirror.backend": f"{PROXY}test_mirror.py::test_a_request_without_body_is_copied_with_the_mirrors_path",
    "routes[].mirror.share": f"{PROXY}test_mirror.py::test_no_share_of_the_requests_means_no_copy",
    "routes[].websocket": f"{PROXY}test_tunnel.py::test_a_route_without_websockets_takes_an_upgrade_as_a_plain_request",
    "routes[].early_hints": f"{PROXY}test_early_hints.py::test_off_drops_hints_and_no_other_interim_head",
    "routes[].access_log": f"{PROXY}test_exchange.py::test_a_route_may_keep_its_exchanges_out_of_the_log",
    "timeouts.tls_handshake": f"{EFFECTS}test_a_handshake_that_never_comes_ends_in_time",
    "timeouts.request_head": f"{GATEWAY}test_bad_clients.py::test_a_head_that_never_ends_is_408",
    "timeouts.request_body": f"{GATEWAY}test_bad_clients.py::test_a_head_that_never_ends_is_408",
    "timeouts.client_write": f"{LIMITS}test_a_reader_that_takes_nothing_is_cut_off",
    "timeouts.keepalive_http1": f"{FRONTEND}test_http1_session.py::"
    "test_a_connection_without_a_request_is_closed_in_silence",
    "timeouts.keepalive_http2": f"{FRONTEND}test_http2_session.py::test_an_idle_session_is_closed_after_a_while",
    "timeouts.response_head": f"{GATEWAY}test_failures.py::test_silence_is_504_after_the_head_timeout_and_runs_once",
    "timeouts.response_idle": f"{PROXY}test_exchange.py::test_a_response_that_stops_in_the_middle_is_reset",
    "timeouts.tunnel_idle": f"{PROXY}test_tunnel.py::test_an_open_tunnel_has_an_idle_timeout_of_its_own",
    "timeouts.drain": f"{PROCESS}test_stop.py::test_a_worker_that_does_not_leave_is_killed_after_the_drain_deadline",
    "timeouts.last_call": f"{GATEWAY}test_under_load.py::test_reloads_fail_no_request_of_clients_that_heed_goaway",
    "timeouts.boot": f"{PROCESS}test_start.py::test_a_worker_that_does_not_boot_in_time_is_dumped_and_stops_the_start",
    "limits.request_line": f"{EFFECTS}test_a_request_line_is_bounded",
    "limits.header_list": f"{EFFECTS}test_a_requests_fields_are_bounded_in_bytes_and_in_number",
    "limits.fields": f"{EFFECTS}test_a_requests_fields_are_bounded_in_bytes_and_in_number",
    "limits.response_header_list": f"{EFFECTS}test_a_responses_fields_are_bounded_in_bytes_and_in_number",
    "limits.response_fields": f"{EFFECTS}test_a_responses_fields_are_bounded_in_bytes_and_in_number",
    "limits.streams": f"{EFFECTS}test_a_client_that_opens_more_streams_than_it_may_is_refused",
    "limits.stream_window": f"{EFFECTS}test_an_http2_client_is_told_its_streams_and_windows",
    "limits.connection_window": f"{EFFECTS}test_an_http2_client_is_told_its_streams_and_windows",
    "limits.max_body": f"{PROXY}test_exchange.py::test_a_body_that_says_it_is_too_large_never_reaches_the_backend",
    "limits.connections": f"{LIMITS}test_above_its_connections_a_worker_accepts_no_more_until_one_leaves",
    "limits.connections_per_address": f"{LIMITS}test_one_address_gets_its_share_of_connections_and_others_theirs",
    "limits.reset_burst": f"{LIMITS}test_rapid_reset_ends_the_connection_and_its_work",
    "limits.reset_rate": f"{LIMITS}test_a_client_that_cancels_now_and_then_is_served_on",
    "limits.replay_buffer": f"{PROXY}test_exchange.py::test_a_body_larger_than_the_replay_buffer_is_not_sent_again",
    "retries.tries": f"{EFFECTS}test_a_refused_request_is_sent_again_so_often",
    "retries.budget": f"{EFFECTS}test_the_budget_is_a_share_of_the_requests_beyond_three_retries",
    "retries.backoff_min": f"{PROXY}test_retry.py::test_the_config_says_how_long_the_first_and_the_longest_pause_are",
    "retries.backoff_max": f"{PROXY}test_retry.py::test_the_config_says_how_long_the_first_and_the_longest_pause_are",
    "forwarding.x_forwarded": f"{REWRITING}test_forwarded_takes_the_place_of_x_forwarded",
    "forwarding.forwarded": f"{REWRITING}test_forwarded_takes_the_place_of_x_forwarded",
    "forwarding.via": f"{REWRITING}test_via_may_be_left_alone_or_blocked",
    "forwarding.proxy_status": f"{PAGES}test_proxy_status_says_why",
    "error_pages[].status": f"{PAGES}test_the_operators_page_is_filled_in",
    "error_pages[].html": f"{PAGES}test_the_operators_page_is_filled_in",
    "error_pages[].json": f"{PAGES}test_the_operators_page_is_filled_in",
    "error_pages[].text": f"{PROXY}test_router.py::test_a_routes_error_pages_come_before_those_of_the_top_level",
    "access_log.path": f"{GATEWAY}test_logs.py::test_a_line_tells_what_an_exchange_was",
    "access_log.format": f"{GATEWAY}test_logs.py::test_the_combined_form_is_apaches_with_more_behind",
    "error_log.path": f"{EFFECTS}test_the_error_log_has_what_is_of_its_level_at_least",
    "error_log.level": f"{EFFECTS}test_the_error_log_has_what_is_of_its_level_at_least",
}


@pytest.mark.parametrize("path", sorted(KEYS - WAYS))
def test_every_key_has_a_test_that_shows_its_effect(path: str) -> None:
    assert path in SHOWN, "name the test that shows what the key does"
    test = SHOWN[path]
    assert test is not None, "there is no test yet that shows what the key does"
    file, _, name = test.partition("::")
    assert name in names_in(file), f"there is no {test}"
    word = path.rpartition(".")[2]
    assert re.search(rf"\b{word}\b", (ROOT / file).read_text(encoding="utf-8")), f"{file} never says {word}"


def test_every_test_is_named_for_a_key_that_there_is() -> None:
    assert sorted(SHOWN) == sorted(KEYS - WAYS)


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


@cache
def attributes_read() -> frozenset[str]:
    """Return the names of all attributes that code outside of the model reads."""
    found = set()
    for file in (ROOT / "h2gate").rglob("*.py"):
        if not (file.parent.name == "config" and file.name.startswith(("model", "checks", "parts", "reach"))):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            found |= {
                node.attr
                for node in ast.walk(tree)
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
            }
    return frozenset(found)


@pytest.mark.parametrize("model", sorted(models_in(Config) | {Config}, key=lambda model: model.__name__))
def test_every_key_is_read_outside_of_the_model(model) -> None:
    assert [name for name in model.model_fields if name not in attributes_read()] == []


def test_operators_and_python_call_a_key_alike_where_they_can() -> None:
    """`keys_of` is what an operator writes; a name that Python would not take is told by an alias."""
    for model in models_in(Config) | {Config}:
        for written, name in zip(keys_of(model), model.model_fields, strict=True):
            assert name.removesuffix("_") == written
