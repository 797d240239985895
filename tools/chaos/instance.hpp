// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace tiercache::chaos {

/// One instance of the service: the whole life of a child process. `fd` is the board's. -> exit code.
int run_instance(int fd, unsigned index);

}  // namespace tiercache::chaos
