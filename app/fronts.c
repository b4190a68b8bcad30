/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The plug board: adding a front is a folder, and a row here. They start in this order. */
#include "app/fronts.h"

#include "front/http/http_front.h"
#include "front/mqtt/mqtt.h"
#include "front/native/native.h"
#include "front/websocket/websocket.h"

const struct front_row front_rows[] = {
	{.ops = &front_native, .enable = SET_COUNT},
	{.ops = &front_mqtt, .enable = SET_mqttEnable, .ports = {{"mqtt", SET_mqttPort}}},
	{.ops = &front_http, .enable = SET_httpEnable, .own_thread = true, .ports = {{"http", SET_httpPort}, {"https", SET_httpsPort}}},
	{.ops = &front_websocket, .enable = SET_websocketEnable, .ports = {{"websocket", SET_websocketPort}}},
	{.ops = NULL},
};
