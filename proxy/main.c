#include "cli.h"
#include "gate.h"

int main(int argc, char **argv) {
    return cli_main(argc, argv, gate_run);
}
