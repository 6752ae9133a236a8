/* cli.h - the command line. */
#ifndef QG_CLI_H
#define QG_CLI_H

/* Runs the command argv names; `run` is the one that is not here.  The process's exit status: 0
 * done, 1 the command says no, 2 the command line is wrong. */
int cli_main(int argc, char **argv, int (*run)(const char *config_path));

#endif
