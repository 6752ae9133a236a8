/* additive_privacy.c - what additive noise promises, in the accountant's terms. */
#include "additive.h"

bool additive_privacy(const struct additive_conf *conf, double steps, struct privacy *out) {
    out->epsilon = conf->epsilon;
    out->delta = conf->delta;
    out->sticky = conf->sticky.on;
    out->unit = "any change of the training data, or of the whole model";
    out->why = NULL;
    if (!additive_on(conf))
        out->why = "a grid without noise promises nothing";
    else if (conf->epsilon == 0)
        out->why = "noise of a plain 'scale' promises nothing that could be added up: give it an "
                   "'epsilon'";
    else if (conf->sticky.bucket > 0)
        out->why = "inputs of one 'bucket' share their noise, so the difference of two answers is "
                   "exact: leave 'bucket' out, since a budget adds up independent draws";
    if (out->why != NULL)
        return false;
    out->loss = conf->mechanism == DISCRETE_GAUSSIAN
                    ? loss_gaussian(1 / (2 * conf->sigma * conf->sigma))
                    : loss_laplace(conf->epsilon, steps);
    return true;
}
