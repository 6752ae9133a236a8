#include "gaussian.h"

#include <math.h>

#define HALVINGS 200 /* until two doubles are neighbours */

/* ln of the normal distribution function, also where the function itself underflows: there by
 * Mills' ratio, whose first terms leave an error of 1/x^6. */
static double log_normal(double x) {
    if (x > -30)
        return log(0.5 * erfc(-x * M_SQRT1_2));
    double z = 1 / (x * x);
    return -0.5 * x * x - log(-x) - 0.5 * log(2 * M_PI) + log1p(-z + 3 * z * z);
}

double gaussian_delta(double sigma, double epsilon) {
    double half = 0.5 / sigma, shift = epsilon * sigma;
    double delta = exp(log_normal(half - shift)) - exp(epsilon + log_normal(-half - shift));
    return delta > 0 ? delta : 0;
}

/* The best order alpha of Renyi divergence: where the derivative of the logarithm changes sign. */
double zcdp_delta(double rho, double epsilon) {
    double low = 1.01, high = (epsilon + 1) / (2 * rho) + 2;
    if (rho <= 0)
        return 0;
    for (int i = 0; i < HALVINGS; i++) {
        double a = (low + high) / 2;
        if ((2 * a - 1) * rho - epsilon + log1p(-1 / a) < 0)
            low = a;
        else
            high = a;
    }
    double a = high;
    double delta = exp((a - 1) * (a * rho - epsilon) + a * log1p(-1 / a)) / (a - 1);
    return delta < 1 ? delta : 1;
}

/* The least x in [low, high] where f(x, epsilon) is at most delta; f falls. */
static double least(double (*f)(double, double), double epsilon, double delta, double low,
                    double high) {
    for (int i = 0; i < HALVINGS; i++) {
        double middle = sqrt(low) * sqrt(high);
        if (f(middle, epsilon) > delta)
            low = middle;
        else
            high = middle;
    }
    return high;
}

static double zcdp_delta_of_sigma(double sigma, double epsilon) {
    return zcdp_delta(0.5 / (sigma * sigma), epsilon);
}

double gaussian_sigma_zcdp(double epsilon, double delta) {
    return least(zcdp_delta_of_sigma, epsilon, delta, 1e-3, 1e9);
}

double gaussian_sigma_analytic(double epsilon, double delta) {
    return least(gaussian_delta, epsilon, delta, 1e-3, 1e9);
}
